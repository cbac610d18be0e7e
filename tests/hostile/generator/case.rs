//! The grammar: derives a hostile component and its description from a seed and a number.

use wasm_encoder::MemoryType;

use super::acts::{Act, Place};
use super::chance::Chance;
use super::contract::{Contract, Export, Skeletons, World};
use super::extras::Extra;
use super::guest::Draft;
use super::names;
use super::sections;
use super::shape::{self, Shape};
use super::value::{Answer, Image, Mood};

/// Bytes of memory beyond the initial pages that a case may use unless it grows memory.
const SPARE: u64 = 1 << 20;
/// The largest memory limit of a case in bytes.
const LARGE: u64 = 32 << 20;
const PAGE: u64 = 65_536;

/// A hostile component.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) number: usize,
    /// The component's name in a pipeline.
    pub(super) name: String,
    pub(super) publishes: bool,
    pub(super) bytes: Vec<u8>,
    /// The memory limit in bytes.
    pub(super) memory: u64,
    /// A description of what is wrong with it.
    pub(super) what: String,
}

/// Generates cases.
pub(super) struct Generator {
    contract: Contract,
    skeletons: Skeletons,
    seed: u64,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { contract: Contract::read(), skeletons: Skeletons::default(), seed }
    }

    /// The case with this number, for a publisher or a transformer world.
    pub(super) fn case(&self, number: usize, publishes: bool) -> Case {
        let chance = &mut Chance::new(self.seed, number);
        let worlds: Vec<&World> =
            self.contract.worlds.iter().filter(|world| world.publishes() == publishes).collect();
        let world = *chance.pick(&worlds);
        let encoding = *chance.pick(&["utf8", "utf8", "utf8", "utf8", "utf16", "latin1+utf16"]);
        let mut words = vec![world.name.clone(), encoding.to_owned()];
        let draft = self.draft(chance, world, encoding, &mut words);
        let good = || self.good(world, encoding).module(world);
        let skeleton = self.skeletons.get(&self.contract, world, encoding, good);
        let mut shape = Shape::of(&skeleton);
        shape.replace_main(draft.module(world));
        if chance.one_in(5) {
            for _ in 0..=chance.small(2) {
                words.push(shape.change(chance, world));
            }
        }
        let mut bytes = shape.finish();
        if chance.one_in(25) {
            words.push(shape::rename(&mut bytes, chance, world));
        }
        if chance.one_in(12) {
            words.push(damage(&mut bytes, chance));
        }
        let large = draft.acts.iter().any(|(_, act)| act.is_greedy());
        let needed = (draft.pages() * PAGE + SPARE).min(LARGE);
        Case {
            number,
            name: format!("case-{number:05}"),
            publishes,
            bytes,
            memory: if large { LARGE } else { needed },
            what: words.join("; "),
        }
    }

    /// A valid component for each publisher or transformer world.
    pub(super) fn good_cases(&self, publishes: bool) -> Vec<Case> {
        let worlds = self.contract.worlds.iter().filter(|world| world.publishes() == publishes);
        let case = |(number, world): (usize, &World)| {
            let good = || self.good(world, "utf8").module(world);
            let bytes = self.skeletons.get(&self.contract, world, "utf8", good);
            let name = format!("case-{number:05}");
            Case { number, name, publishes, bytes, memory: LARGE, what: world.name.clone() }
        };
        worlds.enumerate().map(case).collect()
    }

    /// A valid component that returns an empty answer from every function.
    fn good(&self, world: &World, encoding: &'static str) -> Draft {
        let mut image = Image::new(encoding);
        let answers =
            self.answers(&mut Chance::new(0, 0), world, &mut image, (None, &mut Vec::new()));
        Draft {
            image,
            answers,
            acts: Vec::new(),
            extras: Vec::new(),
            customs: Vec::new(),
            aliases: Vec::new(),
            memory: None,
        }
    }

    /// Each case has only a few faults, so that one refusal does not hide all others.
    fn draft(
        &self,
        chance: &mut Chance,
        world: &World,
        encoding: &'static str,
        words: &mut Vec<String>,
    ) -> Draft {
        let mut draft = Draft { image: Image::new(encoding), ..self.good(world, encoding) };
        let bad = (!chance.one_in(3)).then(|| self.answering(chance, world));
        draft.answers = self.answers(chance, world, &mut draft.image, (bad, words));
        for _ in 0..*chance.pick(&[0, 1, 1, 2]) {
            let place = Place::any(chance, world);
            let act = Act::any(chance, &self.contract, world);
            words.push(format!("{}: {}", place.words(world), act.words()));
            draft.acts.push((place, act));
        }
        if chance.one_in(5) {
            let extra = Extra::any(chance);
            words.push(cut(&format!("{extra:?}")));
            draft.extras.push(extra);
        }
        if chance.one_in(4) {
            let (what, customs) = sections::any(chance);
            words.push(what);
            draft.customs.extend(customs);
            // Debug information is read only after a trap.
            let act = Act::trap(chance);
            let place = Place::Export(chance.below(world.exports.len()));
            words.push(format!("{}: {}", place.words(world), act.words()));
            draft.acts.push((place, act));
        }
        if chance.one_in(12) {
            draft.aliases = (0..chance.size(50)).map(|_| names::any(chance, 3_000)).collect();
            words.push(format!("{} exports of memory", draft.aliases.len()));
        }
        if chance.one_in(24) {
            let memory = memory(chance, draft.pages());
            words.push(format!("{memory:?}"));
            draft.memory = Some(memory);
        }
        draft
    }

    /// Picks a function of this world, weighted by the number of types in its result.
    fn answering(&self, chance: &mut Chance, world: &World) -> usize {
        let parts = |export: &Export| self.contract.parts(export.result.as_ref());
        let all = world.exports.iter().map(parts).sum();
        let mut left = chance.below(all);
        world
            .exports
            .iter()
            .position(|export| {
                let parts = parts(export);
                let here = left < parts;
                left = left.saturating_sub(parts);
                here
            })
            .expect("it is below the sum")
    }

    fn answers(
        &self,
        chance: &mut Chance,
        world: &World,
        image: &mut Image,
        (bad, words): (Option<usize>, &mut Vec<String>),
    ) -> Vec<Answer> {
        let tame = Mood::tame();
        let each = world.exports.iter().enumerate().map(|(nth, export)| {
            let Some(ty) = &export.result else { return Answer::default() };
            if bad != Some(nth) {
                return image.answer(&self.contract, chance, &tame, ty);
            }
            let mood = Mood::any(chance);
            words.push(format!("{} answers {mood:?}", export.name));
            image.answer(&self.contract, chance, &mood, ty)
        });
        each.collect()
    }
}

/// A memory that is too small, too large or of another kind.
fn memory(chance: &mut Chance, needed: u64) -> MemoryType {
    let (minimum, maximum) = match chance.small(5) {
        0 => (65_536, None),
        1 => (needed, Some(needed)),
        2 => (1, None),
        3 => (needed + u64::from(chance.small(2_000)), None),
        _ => (needed, Some(65_536)),
    };
    MemoryType {
        minimum,
        maximum,
        memory64: chance.one_in(6),
        shared: maximum.is_some() && chance.one_in(6),
        page_size_log2: chance.one_in(8).then_some(0),
    }
}

/// Changes bytes at random positions.
fn damage(bytes: &mut Vec<u8>, chance: &mut Chance) -> String {
    match chance.small(6) {
        0 | 1 => {
            let count = chance.size(30);
            for _ in 0..count {
                let at = chance.below(bytes.len());
                bytes[at] ^= 1 << chance.small(8);
            }
            format!("{count} bits flipped")
        }
        2 => {
            let length = chance.below(bytes.len());
            bytes.truncate(length);
            format!("cut to {length} bytes")
        }
        3 => {
            let from = chance.below(bytes.len());
            let until = (from + chance.size(5_000) as usize).min(bytes.len());
            let part = bytes[from..until].to_vec();
            let at = chance.below(bytes.len());
            bytes.splice(at..at, part);
            format!("bytes {from} to {until} again at {at}")
        }
        4 => {
            let length = chance.size(1_000);
            bytes.extend(chance.bytes(length));
            format!("{length} bytes behind the end")
        }
        _ => {
            let at = chance.below(8);
            bytes[at] = chance.bytes(1)[0];
            format!("byte {at} of the header")
        }
    }
}

impl Place {
    fn words(self, world: &World) -> String {
        match self {
            Self::Export(nth) => world.exports[nth].name.clone(),
            Self::Post(nth) => world.exports[nth].post.clone(),
            other => format!("{other:?}"),
        }
    }
}

impl Act {
    fn words(&self) -> String {
        cut(&format!("{self:?}"))
    }
}

/// Shortens a text, because names may be very long.
fn cut(text: &str) -> String {
    let short = &text[..text.floor_char_boundary(160)];
    if short.len() < text.len() { format!("{short}...") } else { short.to_owned() }
}
