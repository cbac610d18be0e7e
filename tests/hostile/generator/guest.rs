//! The core module of a component: the functions of its world, with their acts and answers, and
//! excess content.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, DataSection, ElementSection, Elements,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    InstructionSink, MemArg, MemorySection, MemoryType, Module, NameMap, NameSection, RefType,
    StartSection, TableSection, TableType, TypeSection, ValType,
};

use super::acts::{Act, Argument, Place, Trap};
use super::contract::{Export, World};
use super::extras::Extra;
use super::sections::Custom;
use super::value::{Answer, Image, small};

const PAGE: u32 = 65_536;
/// Pages above the answers, for arguments of calls.
const ROOM: u32 = 4;
const NULLARY: (&[ValType], &[ValType]) = (&[], &[]);

/// The description of a core module.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) image: Image,
    /// One answer for each export of the world.
    pub(super) answers: Vec<Answer>,
    pub(super) acts: Vec<(Place, Act)>,
    pub(super) extras: Vec<Extra>,
    pub(super) customs: Vec<Custom>,
    /// Further exports of the memory, under these names.
    pub(super) aliases: Vec<String>,
    /// The memory, if it is not the one that the answers need.
    pub(super) memory: Option<MemoryType>,
}

impl Draft {
    /// The initial number of pages.
    pub(super) fn pages(&self) -> u64 {
        let needed = u64::from(self.image.end.div_ceil(PAGE) + ROOM);
        self.memory.map_or(needed, |memory| memory.minimum)
    }

    /// Encodes the module.
    pub(super) fn module(&self, world: &World) -> Vec<u8> {
        let mut core = Core::new(self, world);
        core.functions();
        for extra in &self.extras {
            extra.add(&mut core);
        }
        core.finish()
    }
}

/// A module under construction.
pub(super) struct Core<'a> {
    draft: &'a Draft,
    world: &'a World,
    known: Vec<(Vec<ValType>, Vec<ValType>)>,
    pub(super) types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    pub(super) tables: TableSection,
    globals: GlobalSection,
    pub(super) exports: ExportSection,
    start: Option<u32>,
    pub(super) elements: ElementSection,
    code: CodeSection,
    pub(super) data: DataSection,
    names: NameMap,
    named: u32,
    pub(super) memories: MemorySection,
}

/// What is known about the function in which code is written.
struct Scope {
    /// The parameter that is a handle.
    handle: Option<u32>,
    /// Whether the function returns an address.
    returns: bool,
}

const NOWHERE: Scope = Scope { handle: None, returns: false };

/// Indexes of globals: the number of calls so far, and the start of free memory.
const COUNT: u32 = 0;
const HEAP: u32 = 1;

fn at(offset: u32) -> MemArg {
    MemArg { offset: offset.into(), align: 0, memory_index: 0 }
}

impl<'a> Core<'a> {
    fn new(draft: &'a Draft, world: &'a World) -> Self {
        let mut core = Self {
            draft,
            world,
            known: Vec::new(),
            types: TypeSection::new(),
            imports: ImportSection::new(),
            functions: FunctionSection::new(),
            tables: TableSection::new(),
            globals: GlobalSection::new(),
            exports: ExportSection::new(),
            start: None,
            elements: ElementSection::new(),
            code: CodeSection::new(),
            data: DataSection::new(),
            names: NameMap::new(),
            named: 0,
            memories: MemorySection::new(),
        };
        for import in &world.imports {
            let ty = core.ty(&import.params, &import.results);
            core.imports.import(
                &import.module,
                &import.name,
                wasm_encoder::EntityType::Function(ty),
            );
        }
        let number = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        core.globals.global(number, &ConstExpr::i32_const(0));
        let heap = draft.image.end.next_multiple_of(16).cast_signed();
        core.globals.global(number, &ConstExpr::i32_const(heap));
        let table = TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: 1,
            maximum: None,
            shared: false,
        };
        core.tables.table(table);
        core
    }

    /// The index of a function type.
    pub(super) fn ty(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let known = self.known.iter().position(|(p, r)| p == params && r == results);
        small(known.unwrap_or_else(|| {
            self.types.ty().function(params.iter().copied(), results.iter().copied());
            self.known.push((params.to_vec(), results.to_vec()));
            self.known.len() - 1
        }))
    }

    /// Adds a function and returns its index. The body has no `end` instruction yet.
    pub(super) fn function(
        &mut self,
        (params, results): (&[ValType], &[ValType]),
        locals: &[(u32, ValType)],
        body: Vec<u8>,
    ) -> u32 {
        let ty = self.ty(params, results);
        let number = self.next();
        self.functions.function(ty);
        let mut function = Function::new(locals.iter().copied());
        function.raw(body).instructions().end();
        self.code.function(&function);
        number
    }

    fn next(&self) -> u32 {
        small(self.world.imports.len()) + self.functions.len()
    }

    fn name(&mut self, function: u32, name: &str) {
        self.names.append(function, name);
        self.named += 1;
    }

    /// Adds the functions of the world and those that the canonical ABI requires.
    fn functions(&mut self) {
        let (world, draft) = (self.world, self.draft);
        for (nth, export) in world.exports.iter().enumerate() {
            let answer = draft.answers.get(nth).cloned().unwrap_or_default();
            let body = self.exported(nth, export, &answer);
            let number = self.function((&export.params, &export.results), &[], body);
            self.exports.export(&export.name, ExportKind::Func, number);
            if export.indirect {
                let mut body = self.acts(Place::Post(nth), &NOWHERE);
                let heap = draft.image.end.next_multiple_of(16).cast_signed();
                InstructionSink::new(&mut body).i32_const(heap).global_set(HEAP);
                let number = self.function((&export.results, &[]), &[], body);
                self.exports.export(&export.post, ExportKind::Func, number);
            }
        }
        for name in &world.destructors {
            let number = self.function((&[ValType::I32], &[]), &[], Vec::new());
            self.exports.export(name, ExportKind::Func, number);
        }
        let body = self.realloc();
        let params = [ValType::I32; 4];
        let realloc = self.function((&params, &[ValType::I32]), &[(1, ValType::I32)], body);
        self.exports.export(&world.realloc, ExportKind::Func, realloc);
        let mut body = Vec::new();
        self.repeats(&mut body);
        body.extend(self.acts(Place::Initialize, &NOWHERE));
        let initialize = self.function(NULLARY, &[], body);
        self.exports.export(&world.initialize, ExportKind::Func, initialize);
        let body = self.acts(Place::Start, &NOWHERE);
        if !body.is_empty() {
            self.start = Some(self.function(NULLARY, &[], body));
        }
    }

    fn exported(&mut self, nth: usize, export: &Export, answer: &Answer) -> Vec<u8> {
        let mut body = Vec::new();
        InstructionSink::new(&mut body).global_get(COUNT).i32_const(1).i32_add().global_set(COUNT);
        let returns = export.results == [ValType::I32];
        let handle = export.handles.first().map(|(place, _)| *place);
        body.extend(self.acts(Place::Export(nth), &Scope { handle, returns }));
        let mut sink = InstructionSink::new(&mut body);
        for (place, resource) in &export.handles {
            if let Some(drop) = self.world.dropper(*resource) {
                sink.local_get(*place).call(drop);
            }
        }
        // Handles in an answer are created in each call, because the host takes them over.
        if export.indirect {
            for (address, resource) in &answer.handles {
                if let Some(make) = self.world.maker(*resource) {
                    sink.i32_const(address.cast_signed()).i32_const(1).call(make).i32_store(at(0));
                }
            }
            sink.i32_const(answer.address.cast_signed());
            return body;
        }
        let made = answer.handles.first().and_then(|(_, resource)| self.world.maker(*resource));
        match (export.results.first(), made) {
            (Some(_), Some(make)) => {
                sink.i32_const(1).call(make);
            }
            (Some(ty), None) => number(&mut sink, *ty, 0),
            (None, _) => {}
        }
        body
    }

    /// The body of `realloc`, which grows the heap.
    fn realloc(&mut self) -> Vec<u8> {
        let mut body = self.acts(Place::Realloc, &Scope { handle: None, returns: true });
        let mut sink = InstructionSink::new(&mut body);
        sink.global_get(HEAP).i32_const(15).i32_add().i32_const(-16).i32_and().local_set(4);
        sink.local_get(4).local_get(3).i32_add().global_set(HEAP);
        sink.block(BlockType::Empty).loop_(BlockType::Empty);
        sink.global_get(HEAP).memory_size(0).i32_const(PAGE.cast_signed()).i32_mul();
        sink.i32_le_u().br_if(1);
        sink.i32_const(1).memory_grow(0).i32_const(-1).i32_ne().br_if(0);
        sink.unreachable().end().end();
        sink.local_get(4);
        body
    }

    /// Fills the repeated parts of the answers, doubling the copied length each time.
    fn repeats(&self, body: &mut Vec<u8>) {
        let mut sink = InstructionSink::new(body);
        for (address, unit, total) in &self.draft.image.repeats {
            let mut filled = *unit;
            while filled < *total {
                let more = filled.min(total - filled);
                sink.i32_const((address + filled).cast_signed())
                    .i32_const(address.cast_signed())
                    .i32_const(more.cast_signed())
                    .memory_copy(0, 0);
                filled += more;
            }
        }
    }

    fn acts(&mut self, place: Place, scope: &Scope) -> Vec<u8> {
        let draft = self.draft;
        let mut body = Vec::new();
        for (_, act) in draft.acts.iter().filter(|(at, _)| *at == place) {
            body.push(0x02); // In a block, after which all is reachable again.
            body.push(0x40);
            body.extend(self.act(act, scope));
            body.push(0x0b);
        }
        body
    }

    fn act(&mut self, act: &Act, scope: &Scope) -> Vec<u8> {
        let mut body = Vec::new();
        match act {
            Act::From(call, act) => {
                let inner = self.act(act, scope);
                InstructionSink::new(&mut body)
                    .global_get(COUNT)
                    .i32_const(call.cast_signed())
                    .i32_ge_u()
                    .if_(BlockType::Empty);
                body.extend(inner);
                body.push(0x0b);
            }
            Act::Within(names, act) => {
                let mut inner = self.act(act, &NOWHERE);
                for name in names {
                    let number = self.function(NULLARY, &[], inner);
                    self.name(number, name);
                    inner = Vec::new();
                    InstructionSink::new(&mut inner).call(number);
                }
                body = inner;
            }
            Act::Recurse(locals) => {
                let number = self.next();
                let mut inner = Vec::new();
                InstructionSink::new(&mut inner).call(number);
                self.function(NULLARY, &[(*locals, ValType::I64)], inner);
                InstructionSink::new(&mut body).call(number);
            }
            Act::Import { index, arguments, times } => {
                let inner = self.import(*index, arguments);
                // A separate function for the loop, because locals are declared at the start of a
                // function.
                let number = self.function(
                    (&[ValType::I32], &[]),
                    &[(1, ValType::I32)],
                    repeated(&inner, *times),
                );
                let mut sink = InstructionSink::new(&mut body);
                match scope.handle {
                    Some(handle) => sink.local_get(handle),
                    None => sink.i32_const(0),
                };
                sink.call(number);
            }
            Act::Trap(Trap::CallNothing) => {
                let nullary = self.ty(&[], &[]);
                // The element is not set.
                InstructionSink::new(&mut body).i32_const(0).call_indirect(0, nullary);
            }
            act => simple(act, scope, &mut body),
        }
        body
    }

    /// A call of an import; the only parameter of the enclosing function is the handle.
    fn import(&self, index: u32, arguments: &[Argument]) -> Vec<u8> {
        let import = &self.world.imports[index as usize];
        let mut body = Vec::new();
        let mut sink = InstructionSink::new(&mut body);
        for (argument, ty) in arguments.iter().zip(&import.params) {
            match argument {
                Argument::Handle if *ty == ValType::I32 => {
                    sink.local_get(0);
                }
                Argument::Handle => number(&mut sink, *ty, 0),
                Argument::Number(value) => number(&mut sink, *ty, *value),
            }
        }
        sink.call(index);
        for _ in &import.results {
            sink.drop();
        }
        body
    }

    fn finish(mut self) -> Vec<u8> {
        let draft = self.draft;
        self.memories.memory(draft.memory.unwrap_or(MemoryType {
            minimum: draft.pages(),
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        }));
        self.exports.export(&self.world.memory, ExportKind::Memory, 0);
        for name in &draft.aliases {
            self.exports.export(name, ExportKind::Memory, 0);
        }
        for (address, bytes) in draft.image.segments.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let address = ConstExpr::i32_const(address.cast_signed());
            self.data.active(0, &address, bytes.iter().copied());
        }
        let mut module = Module::new();
        module.section(&self.types).section(&self.imports).section(&self.functions);
        module.section(&self.tables).section(&self.memories).section(&self.globals);
        module.section(&self.exports);
        if let Some(function_index) = self.start {
            module.section(&StartSection { function_index });
        }
        module.section(&self.elements).section(&self.code).section(&self.data);
        if self.named > 0 {
            let mut names = NameSection::new();
            names.functions(&self.names);
            module.section(&names);
        }
        for Custom { name, data } in &draft.customs {
            module.section(&CustomSection { name: name.into(), data: data.into() });
        }
        module.finish()
    }

    /// Adds an element segment that nothing uses.
    pub(super) fn passive(&mut self, functions: &[u32]) {
        self.elements.passive(Elements::Functions(functions.into()));
    }
}

/// The body of a function whose locals are a handle and a counter.
fn repeated(inner: &[u8], times: u32) -> Vec<u8> {
    let mut body = Vec::new();
    InstructionSink::new(&mut body).loop_(BlockType::Empty);
    body.extend(inner);
    InstructionSink::new(&mut body)
        .local_get(1)
        .i32_const(1)
        .i32_add()
        .local_tee(1)
        .i32_const(times.cast_signed())
        .i32_lt_u()
        .br_if(0)
        .end();
    body
}

fn simple(act: &Act, scope: &Scope, body: &mut Vec<u8>) {
    let mut sink = InstructionSink::new(body);
    match act {
        Act::Trap(kind) => trap(*kind, &mut sink),
        Act::Spin => {
            sink.loop_(BlockType::Empty).br(0).end();
        }
        Act::Grow { pages, trap } => {
            sink.loop_(BlockType::Empty).i32_const(pages.cast_signed()).memory_grow(0);
            sink.i32_const(-1).i32_ne().br_if(0).end();
            fill(&mut sink);
            if *trap {
                sink.unreachable();
            }
        }
        Act::Fill => {
            sink.loop_(BlockType::Empty);
            fill(&mut sink);
            sink.br(0).end();
        }
        Act::Return(address) if scope.returns => {
            sink.i32_const(address.cast_signed()).return_();
        }
        _ => {
            sink.unreachable();
        }
    }
}

/// Overwrites all memory after the first page.
fn fill(sink: &mut InstructionSink<'_>) {
    let page = PAGE.cast_signed();
    sink.i32_const(page).i32_const(0x7d).memory_size(0).i32_const(page).i32_mul();
    sink.i32_const(page).i32_sub().memory_fill(0);
}

fn trap(kind: Trap, sink: &mut InstructionSink<'_>) {
    match kind {
        Trap::Unreachable | Trap::CallNothing => sink.unreachable(),
        Trap::DivideByZero => sink.i32_const(1).i32_const(0).i32_div_u().drop(),
        Trap::LoadOutside => sink.i32_const(-4).i32_load(at(u32::MAX)).drop(),
        Trap::FillOutside => sink.i32_const(-4).i32_const(0).i32_const(64).memory_fill(0),
        Trap::Convert => sink.f64_const(f64::NAN.into()).i32_trunc_f64_s().drop(),
    };
}

pub(super) fn number(sink: &mut InstructionSink<'_>, ty: ValType, value: u64) {
    let half = u32::try_from(value & u64::from(u32::MAX)).unwrap();
    match ty {
        ValType::I64 => sink.i64_const(value.cast_signed()),
        ValType::F64 => sink.f64_const(f64::from_bits(value).into()),
        ValType::F32 => sink.f32_const(f32::from_bits(half).into()),
        _ => sink.i32_const(half.cast_signed()),
    };
}
