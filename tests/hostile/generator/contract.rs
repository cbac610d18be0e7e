//! The imports and exports of a component, read from the files in `wit/`. The generator contains no
//! name and no signature of the contract, so that it follows each change of the contract.

use std::collections::BTreeMap;
use std::sync::Mutex;

use wasm_encoder::ValType;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::WasmType;
use wit_parser::{
    Function, Handle, LiftLowerAbi, ManglingAndAbi, Resolve, ResourceIntrinsic, SizeAlign, Type,
    TypeDefKind, TypeId, WasmExport, WasmExportKind, WasmImport, WorldId, WorldItem, WorldKey,
};

use crate::harness::root;

const ABI: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// The contract, with its worlds in the order of its files.
pub(super) struct Contract {
    pub(super) resolve: Resolve,
    pub(super) sizes: SizeAlign,
    pub(super) worlds: Vec<World>,
}

/// A world as a core module has to implement it.
pub(super) struct World {
    pub(super) name: String,
    id: WorldId,
    pub(super) imports: Vec<Import>,
    pub(super) exports: Vec<Export>,
    /// Names of the exports that drop resources.
    pub(super) destructors: Vec<String>,
    /// Names such as `package:name/interface@1.2.3`.
    pub(super) interfaces: Vec<String>,
    /// Names of the exports that the canonical ABI requires.
    pub(super) memory: String,
    pub(super) realloc: String,
    pub(super) initialize: String,
}

/// An imported core function.
pub(super) struct Import {
    pub(super) module: String,
    pub(super) name: String,
    pub(super) params: Vec<ValType>,
    pub(super) results: Vec<ValType>,
    pub(super) what: Imported,
}

/// The kind of an imported function.
pub(super) enum Imported {
    /// A function of an interface: its parameter types, or none if they are passed in memory.
    Function(Vec<Type>),
    /// Creates a handle to an exported resource.
    New(TypeId),
    /// Drops a handle to an imported resource.
    Drop(TypeId),
    Other,
}

/// An exported core function.
pub(super) struct Export {
    pub(super) name: String,
    pub(super) post: String,
    pub(super) params: Vec<ValType>,
    pub(super) results: Vec<ValType>,
    /// The type of the result, also if the function returns its address.
    pub(super) result: Option<Type>,
    pub(super) indirect: bool,
    /// Parameters that are handles: position and resource.
    pub(super) handles: Vec<(u32, TypeId)>,
}

impl Contract {
    pub(super) fn read() -> Self {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(root().join("wit")).unwrap();
        let ids: Vec<WorldId> = resolve.packages[package].worlds.values().copied().collect();
        let mut sizes = SizeAlign::default();
        sizes.fill(&resolve);
        let worlds = ids.into_iter().map(|id| World::new(&resolve, id)).collect();
        Self { resolve, sizes, worlds }
    }

    /// The component that wit-component creates from a core module of this world.
    pub(super) fn component(
        &self,
        world: &World,
        mut module: Vec<u8>,
        encoding: StringEncoding,
    ) -> Vec<u8> {
        embed_component_metadata(&mut module, &self.resolve, world.id, encoding).unwrap();
        let mut encoder = ComponentEncoder::default();
        encoder.module(&module).unwrap().validate(true).encode().unwrap()
    }

    /// The number of types within a type, including itself.
    pub(super) fn parts(&self, ty: Option<&Type>) -> usize {
        let Some(ty) = ty else { return 1 };
        let Type::Id(id) = ty else { return 1 };
        let many = |types: &mut dyn Iterator<Item = &Type>| {
            1 + types.map(|ty| self.parts(Some(ty))).sum::<usize>()
        };
        match &self.resolve.types[*id].kind {
            TypeDefKind::Record(record) => many(&mut record.fields.iter().map(|field| &field.ty)),
            TypeDefKind::Tuple(tuple) => many(&mut tuple.types.iter()),
            TypeDefKind::Variant(variant) => {
                many(&mut variant.cases.iter().filter_map(|case| case.ty.as_ref()))
            }
            TypeDefKind::Result(result) => many(&mut result.ok.iter().chain(&result.err)),
            TypeDefKind::Option(ty)
            | TypeDefKind::List(ty)
            | TypeDefKind::FixedLengthList(ty, _)
            | TypeDefKind::Type(ty) => many(&mut std::iter::once(ty)),
            _ => 1,
        }
    }

    /// Resolves aliases of a type.
    pub(super) fn plain(&self, id: TypeId) -> TypeId {
        plain(&self.resolve, id)
    }
}

fn plain(resolve: &Resolve, mut id: TypeId) -> TypeId {
    while let TypeDefKind::Type(Type::Id(other)) = &resolve.types[id].kind {
        id = *other;
    }
    id
}

impl World {
    fn new(resolve: &Resolve, id: WorldId) -> Self {
        let world = &resolve.worlds[id];
        let mut made = Self {
            name: world.name.clone(),
            id,
            imports: Vec::new(),
            exports: Vec::new(),
            destructors: Vec::new(),
            interfaces: Vec::new(),
            memory: resolve.wasm_export_name(ABI, WasmExport::Memory),
            realloc: resolve.wasm_export_name(ABI, WasmExport::Realloc),
            initialize: resolve.wasm_export_name(ABI, WasmExport::Initialize),
        };
        for (key, item) in &world.imports {
            made.add_import(resolve, key, item);
        }
        for (key, item) in &world.exports {
            made.add_export(resolve, key, item);
        }
        made
    }

    /// Whether it is the world of a publisher, which a pipeline uses differently.
    pub(super) fn publishes(&self) -> bool {
        self.name.contains("publisher")
    }

    /// The import that creates handles to a resource.
    pub(super) fn maker(&self, resource: TypeId) -> Option<u32> {
        self.import(|what| matches!(what, Imported::New(id) if *id == resource))
    }

    /// The import that drops handles to a resource.
    pub(super) fn dropper(&self, resource: TypeId) -> Option<u32> {
        self.import(|what| matches!(what, Imported::Drop(id) if *id == resource))
    }

    fn import(&self, wanted: impl Fn(&Imported) -> bool) -> Option<u32> {
        let at = self.imports.iter().position(|import| wanted(&import.what))?;
        Some(u32::try_from(at).unwrap())
    }

    fn add_import(&mut self, resolve: &Resolve, key: &WorldKey, item: &WorldItem) {
        match item {
            WorldItem::Function(function) => self.imports.push(imported(resolve, None, function)),
            WorldItem::Interface { id, .. } => {
                self.interfaces.push(resolve.name_world_key(key));
                let interface = &resolve.interfaces[*id];
                for function in interface.functions.values() {
                    self.imports.push(imported(resolve, Some(key), function));
                }
                for resource in resources(resolve, interface.types.values()) {
                    let drop = ResourceIntrinsic::ImportedDrop;
                    self.imports.push(intrinsic(resolve, key, resource, drop));
                }
            }
            WorldItem::Type { .. } => {}
        }
    }

    fn add_export(&mut self, resolve: &Resolve, key: &WorldKey, item: &WorldItem) {
        match item {
            WorldItem::Function(function) => self.exports.push(exported(resolve, None, function)),
            WorldItem::Interface { id, .. } => {
                self.interfaces.push(resolve.name_world_key(key));
                let interface = &resolve.interfaces[*id];
                for function in interface.functions.values() {
                    self.exports.push(exported(resolve, Some(key), function));
                }
                for resource in resources(resolve, interface.types.values()) {
                    for which in [
                        ResourceIntrinsic::ExportedNew,
                        ResourceIntrinsic::ExportedRep,
                        ResourceIntrinsic::ExportedDrop,
                    ] {
                        self.imports.push(intrinsic(resolve, key, resource, which));
                    }
                    let destructor = WasmExport::ResourceDtor { interface: key, resource };
                    self.destructors.push(resolve.wasm_export_name(ABI, destructor));
                }
            }
            WorldItem::Type { .. } => {}
        }
    }
}

fn resources<'a>(
    resolve: &'a Resolve,
    types: impl Iterator<Item = &'a TypeId> + 'a,
) -> impl Iterator<Item = TypeId> + 'a {
    types.copied().filter(|id| matches!(resolve.types[*id].kind, TypeDefKind::Resource))
}

fn imported(resolve: &Resolve, interface: Option<&WorldKey>, func: &Function) -> Import {
    let abi = ABI.for_func(func);
    let signature = resolve.wasm_signature(abi.import_variant(), func);
    let (module, name) = resolve.wasm_import_name(abi, WasmImport::Func { interface, func });
    let params = func.params.iter().map(|param| param.ty);
    let what = if signature.indirect_params {
        Imported::Other
    } else {
        Imported::Function(params.collect())
    };
    let (params, results) = (types(&signature.params), types(&signature.results));
    Import { module, name, params, results, what }
}

fn intrinsic(
    resolve: &Resolve,
    interface: &WorldKey,
    resource: TypeId,
    intrinsic: ResourceIntrinsic,
) -> Import {
    let (results, what) = match intrinsic {
        ResourceIntrinsic::ExportedNew => (vec![ValType::I32], Imported::New(resource)),
        ResourceIntrinsic::ExportedRep => (vec![ValType::I32], Imported::Other),
        ResourceIntrinsic::ImportedDrop => (Vec::new(), Imported::Drop(resource)),
        ResourceIntrinsic::ExportedDrop => (Vec::new(), Imported::Other),
    };
    let import = WasmImport::ResourceIntrinsic { interface: Some(interface), resource, intrinsic };
    let (module, name) = resolve.wasm_import_name(ABI, import);
    Import { module, name, params: vec![ValType::I32], results, what }
}

fn exported(resolve: &Resolve, interface: Option<&WorldKey>, func: &Function) -> Export {
    let abi = ABI.for_func(func);
    let signature = resolve.wasm_signature(abi.export_variant(), func);
    let name = |kind| resolve.wasm_export_name(abi, WasmExport::Func { interface, func, kind });
    let mut handles = Vec::new();
    let mut place = 0;
    for param in func.params.iter().filter(|_| !signature.indirect_params) {
        if let Type::Id(id) = param.ty
            && let TypeDefKind::Handle(Handle::Own(to) | Handle::Borrow(to)) =
                &resolve.types[plain(resolve, id)].kind
        {
            handles.push((place, plain(resolve, *to)));
        }
        place += width(resolve, &param.ty);
    }
    Export {
        name: name(WasmExportKind::Normal),
        post: name(WasmExportKind::PostReturn),
        params: types(&signature.params),
        results: types(&signature.results),
        result: func.result,
        indirect: signature.retptr,
        handles,
    }
}

/// The number of core values of a flattened value.
pub(super) fn width(resolve: &Resolve, ty: &Type) -> u32 {
    let mut storage = [WasmType::I32; Resolve::MAX_FLAT_PARAMS];
    let mut flat = wit_parser::abi::FlatTypes::new(&mut storage);
    resolve.push_flat(ty, &mut flat);
    u32::try_from(flat.to_vec().len()).unwrap()
}

fn types(of: &[WasmType]) -> Vec<ValType> {
    let one = |ty: &WasmType| match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => ValType::I32,
        WasmType::I64 | WasmType::PointerOrI64 => ValType::I64,
        WasmType::F32 => ValType::F32,
        WasmType::F64 => ValType::F64,
    };
    of.iter().map(one).collect()
}

/// A cache of good components by world and string encoding.
#[derive(Default)]
pub(super) struct Skeletons(Mutex<BTreeMap<(String, &'static str), Vec<u8>>>);

impl Skeletons {
    pub(super) fn get(
        &self,
        contract: &Contract,
        world: &World,
        encoding: &'static str,
        module: impl FnOnce() -> Vec<u8>,
    ) -> Vec<u8> {
        let mut made = self.0.lock().unwrap();
        let made = made.entry((world.name.clone(), encoding)).or_insert_with(|| {
            let encoding = match encoding {
                "utf16" => StringEncoding::UTF16,
                "latin1+utf16" => StringEncoding::CompactUTF16,
                _ => StringEncoding::UTF8,
            };
            contract.component(world, module(), encoding)
        });
        made.clone()
    }
}
