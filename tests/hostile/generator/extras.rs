//! Excess content of a core module.

use wasm_encoder::{
    BlockType, ConstExpr, Elements, ExportKind, FieldType, InstructionSink, MemoryType, RefType,
    StorageType, TableType, ValType,
};

use super::chance::Chance;
use super::guest::Core;
use super::names;

/// A construct in an unusual amount.
#[derive(Debug, Clone)]
pub(super) enum Extra {
    Types(u32),
    /// A function type with this many parameters and results, and a function of that type.
    Wide(u32),
    Functions(u32),
    /// Tables of this size, each with one element at its end.
    Tables {
        count: u32,
        size: u32,
    },
    /// An unused segment with this many elements.
    Elements(u32),
    /// A jump table with this many targets.
    Jumps(u32),
    Locals(u32),
    /// Nested blocks.
    Blocks(u32),
    /// A function with this many instructions.
    Body(u32),
    /// This many values on the stack at once.
    Stack(u32),
    /// Data segments of one byte each.
    Data(u32),
    /// Data outside of the memory.
    DataOutside,
    /// This many exports with this name.
    Exports(u32, String),
    /// A second memory.
    Memory,
    /// A type of a disabled proposal.
    Struct,
    /// Invalid or disabled instructions.
    Raw(Vec<u8>),
}

impl Extra {
    pub(super) fn any(chance: &mut Chance) -> Self {
        match chance.small(16) {
            0 => Self::Types(chance.size(120_000)),
            1 => Self::Wide(chance.size(1_100)),
            2 => Self::Functions(chance.size(20_000)),
            3 => Self::Tables { count: chance.size(150), size: chance.size(1_000_000) },
            4 => Self::Elements(chance.size(1_000_000)),
            5 => Self::Jumps(chance.size(200_000)),
            6 => Self::Locals(chance.size(60_000)),
            7 => Self::Blocks(chance.size(20_000)),
            8 => Self::Body(chance.size(100_000)),
            9 => Self::Stack(chance.size(5_000)),
            10 => Self::Data(chance.size(110_000)),
            11 => Self::DataOutside,
            12 => Self::Exports(chance.size(20_000), names::any(chance, 300)),
            13 => Self::Memory,
            14 => Self::Struct,
            _ => {
                let length = chance.size(200);
                Self::Raw(chance.bytes(length))
            }
        }
    }

    pub(super) fn add(&self, core: &mut Core<'_>) {
        let nullary: (&[ValType], &[ValType]) = (&[], &[]);
        let mut body = Vec::new();
        match self {
            Self::Types(count) => (0..*count).for_each(|_| core.types.ty().function([], [])),
            Self::Wide(count) => {
                let many = vec![ValType::I64; *count as usize];
                InstructionSink::new(&mut body).unreachable();
                core.function((&many, &many), &[], body);
            }
            Self::Functions(count) => {
                InstructionSink::new(&mut body).i32_const(7).drop();
                for _ in 0..*count {
                    core.function(nullary, &[], body.clone());
                }
            }
            Self::Tables { count, size } => tables(core, *count, *size),
            Self::Elements(count) => {
                let function = core.function(nullary, &[], body);
                core.passive(&vec![function; *count as usize]);
            }
            Self::Jumps(count) => {
                let mut sink = InstructionSink::new(&mut body);
                sink.i32_const(3).br_table((0..*count).map(|_| 0), 0);
                core.function(nullary, &[], body);
            }
            Self::Locals(count) => {
                core.function(nullary, &[(*count, ValType::F64)], body);
            }
            Self::Blocks(count) => {
                blocks(&mut InstructionSink::new(&mut body), *count);
                core.function(nullary, &[], body);
            }
            Self::Body(count) => {
                let mut sink = InstructionSink::new(&mut body);
                sink.i32_const(1);
                for _ in 0..*count {
                    sink.i32_const(3).i32_mul();
                }
                sink.drop();
                core.function(nullary, &[], body);
            }
            Self::Stack(count) => {
                let mut sink = InstructionSink::new(&mut body);
                for _ in 0..*count {
                    sink.global_get(0);
                }
                for _ in 1..*count {
                    sink.i32_add();
                }
                sink.drop();
                core.function(nullary, &[], body);
            }
            Self::Raw(bytes) => {
                core.function(nullary, &[], bytes.clone());
            }
            other => other.add_sections(core),
        }
    }

    fn add_sections(&self, core: &mut Core<'_>) {
        match self {
            Self::Data(count) => {
                for _ in 0..*count {
                    core.data.active(0, &ConstExpr::i32_const(8), [7]);
                }
            }
            Self::DataOutside => {
                core.data.active(0, &ConstExpr::i32_const(-2), [7, 7, 7]);
            }
            Self::Exports(count, name) => {
                for nth in 0..*count {
                    core.exports.export(&format!("{name}-{nth}"), ExportKind::Func, 0);
                }
            }
            Self::Memory => {
                let memory = MemoryType {
                    minimum: 1,
                    maximum: None,
                    memory64: false,
                    shared: false,
                    page_size_log2: None,
                };
                core.memories.memory(memory);
            }
            _ => {
                let field =
                    FieldType { element_type: StorageType::Val(ValType::I32), mutable: true };
                core.types.ty().struct_([field; 3]);
            }
        }
    }
}

/// Nested blocks and loops.
fn blocks(sink: &mut InstructionSink<'_>, count: u32) {
    for nth in 0..count {
        if nth % 2 == 0 {
            sink.block(BlockType::Empty);
        } else {
            sink.loop_(BlockType::Empty);
        }
    }
    for _ in 0..count {
        sink.end();
    }
}

/// Tables whose elements are mostly unset, so that the compiled initial content is as large as the
/// table.
pub(super) fn tables(core: &mut Core<'_>, count: u32, size: u32) {
    let function = core.function((&[], &[]), &[], Vec::new());
    for _ in 0..count {
        let number = core.tables.len();
        core.tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: size.into(),
            maximum: None,
            shared: false,
        });
        let last = ConstExpr::i32_const((size - 1).cast_signed());
        core.elements.active(Some(number), &last, Elements::Functions([function][..].into()));
    }
}
