//! The answers of a component: values of any type of the contract in the layout of the canonical
//! ABI. Most are valid, because an answer that is refused at its first byte tests nothing behind
//! it.

use wit_parser::{Handle, Int, Type, TypeDefKind, TypeId};

use super::chance::Chance;
use super::contract::Contract;
use super::names;

/// The address of the first value; writes through null pointers hit only the memory below.
pub(super) const BASE: u32 = 65_536;
/// The maximum end address of the answers, so that addresses stay below 4 GiB.
const LARGEST: u32 = 1 << 28;
/// A time after 1980 and never later than the input's newest.
const TIME: u64 = 1_600_000_000_000_000_000;
/// An integer whose neighbours have the same double value, [`TIME`]: only `exact` distinguishes
/// them.
const WHOLE: f64 = 1.6e18;
/// Maximum number of different elements in a list; the others repeat them.
const DIFFERENT: u32 = 4;
/// The first number of a component's own dictionary entries.
const OWN: u32 = 1 << 31;

/// How values are chosen.
#[derive(Debug, Clone)]
pub(super) struct Mood {
    /// The first variant case and empty lists everywhere: the answers of a good component.
    pub(super) tame: bool,
    /// One value in this many is invalid; 0 for none.
    pub(super) lies: u32,
    /// Length of lists of numbers, which are columns.
    pub(super) rows: u32,
    /// Length of all other lists.
    pub(super) entries: u32,
    /// Length of a long text in bytes.
    pub(super) text: u32,
    /// One text in this many is long; 0 for none.
    pub(super) long: u32,
    /// All volumes are integers that have exact values.
    pub(super) whole: bool,
}

impl Mood {
    pub(super) fn tame() -> Self {
        Self { tame: true, lies: 0, rows: 0, entries: 0, text: 0, long: 0, whole: false }
    }

    pub(super) fn any(chance: &mut Chance) -> Self {
        let lies = *chance.pick(&[0, 0, 3, 10, 40]);
        Self {
            tame: false,
            lies,
            rows: some(chance, 400_000),
            entries: some(chance, 200_000),
            text: chance.size(512 << 10),
            long: *chance.pick(&[0, 0, 2, 6]),
            whole: chance.one_in(3),
        }
    }

    fn lie(&self, chance: &mut Chance) -> bool {
        self.lies > 0 && chance.one_in(self.lies)
    }
}

/// The content of the memory when the component starts.
#[derive(Debug)]
pub(super) struct Image {
    /// Pairs of address and bytes.
    pub(super) segments: Vec<(u32, Vec<u8>)>,
    /// Address, size of a unit, and total size: the unit is repeated until the total is filled.
    pub(super) repeats: Vec<(u32, u32, u32)>,
    /// The first free address.
    pub(super) end: u32,
    encoding: &'static str,
}

/// The address of an answer, and the handles that each call has to create.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) address: u32,
    pub(super) handles: Vec<(u32, TypeId)>,
}

impl Image {
    pub(super) fn new(encoding: &'static str) -> Self {
        Self { segments: Vec::new(), repeats: Vec::new(), end: BASE, encoding }
    }

    /// Adds a value of this type.
    pub(super) fn answer(
        &mut self,
        contract: &Contract,
        chance: &mut Chance,
        mood: &Mood,
        ty: &Type,
    ) -> Answer {
        let size = size(contract, ty);
        let address = self.reserve(size, align(contract, ty));
        let mut writer =
            Writer { contract, chance, mood, image: self, handles: Vec::new(), element: 0 };
        let mut bytes = vec![0; size as usize];
        writer.put(ty, address, &mut bytes);
        let handles = writer.handles;
        self.segments.push((address, bytes));
        Answer { address, handles }
    }

    fn reserve(&mut self, size: u32, align: u32) -> u32 {
        let address = self.end.next_multiple_of(align);
        self.end = address + size;
        address
    }

    /// Adds a text; returns its address and its length in code units of the encoding.
    fn text(&mut self, text: &str) -> (u32, u32) {
        let narrow = text.chars().all(|letter| u32::from(letter) < 256);
        let wide = || text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let (bytes, tag, unit) = match self.encoding {
            "utf16" => (wide(), 0, 2),
            "latin1+utf16" if narrow => (
                text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect(),
                0,
                1,
            ),
            "latin1+utf16" => (wide(), 1 << 31, 2),
            _ => (text.as_bytes().to_vec(), 0, 1),
        };
        let length = small(bytes.len());
        let address = self.reserve(length, 2);
        self.segments.push((address, bytes));
        (address, (length / unit) | tag)
    }

    /// Adds a JSON object with a text of this length, which is repeated at start and does not
    /// enlarge the file.
    fn long_text(&mut self, length: u32) -> (u32, u32) {
        let (before, after) = (r#"{"a":""#, r#""}"#);
        let unit = if self.encoding == "utf16" { 2 } else { 1 };
        let encode = |text: &str| -> Vec<u8> {
            text.bytes().flat_map(|byte| [byte, 0].into_iter().take(unit)).collect()
        };
        let (before, filling, after) = (encode(before), encode("x"), encode(after));
        let step = small(filling.len());
        let filled = length.max(1) * step;
        let address = self.reserve(small(before.len() + after.len()) + filled, 2);
        let middle = address + small(before.len());
        let total = small(before.len() + after.len()) + filled;
        self.segments.push((address, before));
        self.segments.push((middle, filling));
        self.segments.push((middle + filled, after));
        self.repeats.push((middle, step, filled));
        (address, total / step)
    }
}

struct Writer<'a> {
    contract: &'a Contract,
    chance: &'a mut Chance,
    mood: &'a Mood,
    image: &'a mut Image,
    handles: Vec<(u32, TypeId)>,
    /// The index of the list element being written.
    element: u32,
}

impl Writer<'_> {
    /// Writes a value of this type for this address into these bytes.
    fn put(&mut self, ty: &Type, at: u32, into: &mut [u8]) {
        match ty {
            Type::Bool | Type::U8 | Type::S8 => into[0] = self.byte(ty),
            Type::U16 | Type::S16 => into[..2].copy_from_slice(&self.chance.bytes(2)),
            Type::U32 | Type::S32 => word(into, self.index()),
            Type::Char => {
                let letter = if self.mood.lie(self.chance) { 0xd800 } else { 120 };
                word(into, letter);
            }
            Type::ErrorContext => {}
            Type::U64 => {
                let time = self.time();
                into[..8].copy_from_slice(&time.to_le_bytes());
            }
            Type::S64 => {
                let integer = self.integer();
                into[..8].copy_from_slice(&integer.to_le_bytes());
            }
            Type::F32 => into[..4].copy_from_slice(&self.chance.bytes(4)),
            Type::F64 => {
                let number = self.number();
                into[..8].copy_from_slice(&number.to_le_bytes());
            }
            Type::String => {
                let (address, length) = self.text();
                word(into, address);
                word(&mut into[4..], length);
            }
            Type::Id(id) => self.defined(*id, at, into),
        }
    }

    fn defined(&mut self, id: TypeId, at: u32, into: &mut [u8]) {
        let contract = self.contract;
        match &contract.resolve.types[id].kind {
            TypeDefKind::Type(ty) => self.put(ty, at, into),
            TypeDefKind::Record(record) => {
                self.fields(record.fields.iter().map(|field| &field.ty), at, into);
                let types: Vec<Type> = record.fields.iter().map(|field| field.ty).collect();
                if let Some(number) = self.number_of_element(&types) {
                    word(into, number);
                }
            }
            TypeDefKind::Tuple(tuple) => self.fields(tuple.types.iter(), at, into),
            TypeDefKind::Flags(_) => {
                let bytes = self.chance.bytes(small(into.len()));
                into.copy_from_slice(&bytes);
            }
            TypeDefKind::Enum(cases) => {
                let none = vec![None; cases.cases.len()];
                self.case(cases.tag(), &none, at, into);
            }
            TypeDefKind::Variant(variant) => {
                let cases: Vec<_> = variant.cases.iter().map(|case| case.ty).collect();
                self.case(variant.tag(), &cases, at, into);
            }
            TypeDefKind::Option(ty) => self.case(Int::U8, &[None, Some(*ty)], at, into),
            TypeDefKind::Result(result) => {
                self.case(Int::U8, &[result.ok, result.err], at, into);
            }
            TypeDefKind::List(ty) => self.list(ty, into),
            TypeDefKind::FixedLengthList(ty, count) => {
                self.fields((0..*count).map(|_| ty), at, into);
            }
            TypeDefKind::Handle(Handle::Own(to) | Handle::Borrow(to)) => {
                self.handles.push((at, contract.plain(*to)));
            }
            TypeDefKind::Map(..) | TypeDefKind::Future(_) | TypeDefKind::Stream(_) => {}
            TypeDefKind::Resource | TypeDefKind::Unknown => unreachable!("these have no values"),
        }
    }

    fn fields<'t>(&mut self, types: impl Iterator<Item = &'t Type>, at: u32, into: &mut [u8]) {
        for (offset, ty) in self.contract.sizes.field_offsets(types) {
            let offset = offset.size_wasm32();
            self.put(ty, at + small(offset), &mut into[offset..]);
        }
    }

    /// Writes one variant case with its payload.
    fn case(&mut self, tag: Int, cases: &[Option<Type>], at: u32, into: &mut [u8]) {
        let mut case = if self.mood.tame { 0 } else { self.chance.below(cases.len()) };
        // An error ends the call early, so the error case of a result is rarer.
        if cases.len() == 2 && tag == Int::U8 && cases[0].is_some() && !self.chance.one_in(6) {
            case = 0;
        }
        let discriminant =
            if self.mood.lie(self.chance) { self.chance.small(256) } else { small(case) };
        let width = match tag {
            Int::U8 => 1,
            Int::U16 => 2,
            Int::U32 | Int::U64 => 4,
        };
        into[..width].copy_from_slice(&discriminant.to_le_bytes()[..width]);
        if let Some(ty) = &cases[case] {
            let all = cases.iter().map(Option::as_ref);
            let offset = self.contract.sizes.payload_offset(tag, all).size_wasm32();
            self.put(ty, at + small(offset), &mut into[offset..]);
        }
    }

    fn list(&mut self, ty: &Type, into: &mut [u8]) {
        if self.mood.tame {
            return;
        }
        let numbers = !matches!(ty, Type::String | Type::Id(_)) || self.is_number(ty);
        let mut count = if numbers { self.mood.rows } else { self.mood.entries };
        if matches!(ty, Type::U8) {
            // Bytes are cheaper than rows.
            count *= 24;
        }
        let step = size(self.contract, ty).max(1);
        if step * count.min(LARGEST / step) + self.image.end > LARGEST {
            count = 1;
        }
        // The same entry or row number often fills a whole column.
        let same = matches!(ty, Type::U32) && self.chance.one_in(2);
        let different = if same { 1 } else { count.min(1 + self.chance.small(DIFFERENT)) };
        if self.counts(ty) && self.chance.one_in(2) {
            count = different;
        }
        let address = self.image.reserve(step * count, align(self.contract, ty));
        let mut bytes = vec![0; (step * different) as usize];
        let outer = self.element;
        for nth in 0..different {
            let from = (step * nth) as usize;
            self.element = nth;
            self.put(ty, address + step * nth, &mut bytes[from..from + step as usize]);
        }
        self.element = outer;
        self.image.segments.push((address, bytes));
        if different < count {
            self.image.repeats.push((address, step * different, step * count));
        }
        let (address, count) = self.lie_about(address, count);
        word(into, address);
        word(&mut into[4..], count);
    }

    /// Whether elements of this type begin with ascending numbers.
    fn counts(&self, ty: &Type) -> bool {
        let Type::Id(id) = ty else { return false };
        let kind = &self.contract.resolve.types[self.contract.plain(*id)].kind;
        matches!(kind, TypeDefKind::Record(record) if record.fields[0].ty == Type::U32)
    }

    /// The number that a list element begins with: of a new dictionary entry, or of a row with an
    /// exact integer. It is the element's index, because entries have no gaps and rows ascend.
    fn number_of_element(&mut self, fields: &[Type]) -> Option<u32> {
        let [Type::U32, second] = fields else { return None };
        if self.mood.tame || self.mood.lie(self.chance) {
            return None;
        }
        match second {
            Type::Id(_) => Some(OWN + self.element),
            Type::S64 => Some(self.element),
            _ => None,
        }
    }

    /// Whether this is an alias of a number type.
    fn is_number(&self, ty: &Type) -> bool {
        let Type::Id(id) = ty else { return false };
        let kind = &self.contract.resolve.types[self.contract.plain(*id)].kind;
        matches!(kind, TypeDefKind::Type(ty) if !matches!(ty, Type::String | Type::Id(_)))
    }

    fn lie_about(&mut self, address: u32, count: u32) -> (u32, u32) {
        if !self.mood.lie(self.chance) {
            return (address, count);
        }
        match self.chance.small(6) {
            0 => (address, u32::MAX),
            1 => (address, self.chance.word()),
            2 => (address + 1, count),
            3 => (u32::MAX - self.chance.small(64), count),
            4 => (self.chance.word(), count),
            _ => (address, count.wrapping_add(self.chance.small(5)).wrapping_sub(2)),
        }
    }

    fn text(&mut self) -> (u32, u32) {
        if self.mood.tame {
            return (0, 0);
        }
        if self.mood.long > 0 && self.chance.one_in(self.mood.long) {
            let (address, length) = self.image.long_text(self.mood.text);
            return self.lie_about(address, length);
        }
        // The same text is valid as name, unit, id and JSON object.
        if !self.mood.lie(self.chance) {
            return self.image.text("{}");
        }
        if self.chance.one_in(4) {
            let length = self.chance.size(4_096);
            let bytes = self.chance.bytes(length);
            let address = self.image.reserve(length, 2);
            self.image.segments.push((address, bytes));
            return (address, length / 2);
        }
        let text = names::text(self.chance, 1_000);
        let (address, length) = self.image.text(&text);
        self.lie_about(address, length)
    }

    fn byte(&mut self, ty: &Type) -> u8 {
        let byte = self.chance.bytes(1)[0];
        if *ty == Type::Bool && !self.mood.lie(self.chance) { byte & 1 } else { byte }
    }

    /// Mostly a possible number of an entry or a row, or the number for none.
    fn index(&mut self) -> u32 {
        if self.mood.tame {
            return 0;
        }
        if self.mood.lie(self.chance) {
            return *self.chance.pick(&[u32::MAX - 1, OWN + (1 << 16), OWN - 1, 1 << 16]);
        }
        // The input has one meter and a few resources, the component a few more of each.
        *self.chance.pick(&[0, 0, 0, 1, OWN, OWN, OWN + 1, u32::MAX])
    }

    fn time(&mut self) -> u64 {
        if self.mood.lie(self.chance) {
            return *self.chance.pick(&[0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 315_532_800]);
        }
        TIME + u64::from(self.chance.small(1_000))
    }

    /// Mostly a possible exact value of [`WHOLE`], the nearest double.
    fn integer(&mut self) -> i64 {
        if self.mood.lie(self.chance) {
            return *self.chance.pick(&[0, 1, -1, i64::MIN, i64::MAX, 1 << 53]);
        }
        TIME.cast_signed() + i64::from(self.chance.small(100))
    }

    fn number(&mut self) -> f64 {
        if self.mood.lie(self.chance) {
            let odd =
                [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(1), -0.0, f64::MAX];
            return *self.chance.pick(&odd);
        }
        if self.mood.whole {
            return WHOLE;
        }
        f64::from(self.chance.small(1_000_000)) / 8.0
    }
}

/// One or two, some, or nearly the maximum.
fn some(chance: &mut Chance, most: u32) -> u32 {
    match chance.small(3) {
        0 => 1 + chance.small(2),
        1 => chance.size(most),
        _ => most - chance.small(most / 2),
    }
}

fn word(into: &mut [u8], value: u32) {
    into[..4].copy_from_slice(&value.to_le_bytes());
}

fn size(contract: &Contract, ty: &Type) -> u32 {
    small(contract.sizes.size(ty).size_wasm32())
}

fn align(contract: &Contract, ty: &Type) -> u32 {
    small(contract.sizes.align(ty).align_wasm32())
}

pub(super) fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap()
}
