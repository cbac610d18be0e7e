//! What a component does when it is called, beside answering.

use wit_parser::{Type, TypeDefKind};

use super::chance::Chance;
use super::contract::{Contract, Imported, World, width};
use super::names;
use super::value::BASE;

/// So many calls are made before a component has anything to do.
const EARLY: u32 = 2;

/// Where something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a function of the contract, by its number in the world.
    Export(usize),
    /// After its answer was read.
    Post(usize),
    Realloc,
    /// When the component is instantiated.
    Initialize,
    /// When the core module is instantiated.
    Start,
}

/// Something that a function does.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Trap(Trap),
    Spin,
    /// Calls itself until the stack is full, with so many locals each time.
    Recurse(u32),
    /// Takes all memory that it gets, so many pages at a time, then traps or goes on.
    Grow {
        pages: u32,
        trap: bool,
    },
    /// Writes all of its memory, again and again.
    Fill,
    /// Calls an imported function so often.
    Import {
        index: u32,
        arguments: Vec<Argument>,
        times: u32,
    },
    /// From the n-th call on.
    From(u32, Box<Self>),
    /// In functions with these names, each called by the one after it.
    Within(Vec<String>, Box<Self>),
    /// Returns this at once.
    Return(u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Trap {
    Unreachable,
    DivideByZero,
    LoadOutside,
    FillOutside,
    CallNothing,
    Convert,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    Number(u64),
    /// The handle that the function was called with, if there is one.
    Handle,
}

impl Place {
    /// Any place; those of the contract are the most likely.
    pub(super) fn any(chance: &mut Chance, world: &World) -> Self {
        let export = chance.below(world.exports.len());
        match chance.small(12) {
            0 => Self::Post(export),
            1 => Self::Realloc,
            2 => Self::Initialize,
            3 => Self::Start,
            _ => Self::Export(export),
        }
    }
}

impl Act {
    pub(super) fn any(chance: &mut Chance, contract: &Contract, world: &World) -> Self {
        let act = match chance.small(10) {
            0..=2 => return Self::trap(chance),
            3 => Self::Spin,
            4 => Self::Recurse(chance.size(2_000)),
            5 => Self::Grow { pages: chance.size(64), trap: chance.one_in(2) },
            6 => Self::Fill,
            7 => Self::Return(*chance.pick(&[0, 1, 3, u32::MAX, u32::MAX - 7, 1 << 31, BASE])),
            _ => Self::import(chance, contract, world),
        };
        act.some_time(chance)
    }

    /// A trap, in functions with names or without.
    pub(super) fn trap(chance: &mut Chance) -> Self {
        let kind = *chance.pick(&[
            Trap::Unreachable,
            Trap::DivideByZero,
            Trap::LoadOutside,
            Trap::FillOutside,
            Trap::CallNothing,
            Trap::Convert,
        ]);
        Self::Trap(kind).some_time(chance)
    }

    fn some_time(self, chance: &mut Chance) -> Self {
        let act = if chance.one_in(3) { self.named(chance) } else { self };
        // What happens at the first calls is known before there is anything to do.
        if chance.one_in(4) { act } else { Self::From(EARLY + chance.size(4), Box::new(act)) }
    }

    /// Whether it takes memory that it was not given at the start.
    pub(super) fn is_greedy(&self) -> bool {
        match self {
            Self::Grow { .. } | Self::Fill => true,
            Self::From(_, act) | Self::Within(_, act) => act.is_greedy(),
            _ => false,
        }
    }

    /// The same in functions that have names.
    fn named(self, chance: &mut Chance) -> Self {
        let names = (0..=chance.small(12)).map(|_| {
            let most = *chance.pick(&[100, 2_000, 60_000]);
            names::any(chance, most)
        });
        Self::Within(names.collect(), Box::new(self))
    }

    /// Calls to any imported function, often of texts that are no texts.
    fn import(chance: &mut Chance, contract: &Contract, world: &World) -> Self {
        if world.imports.is_empty() {
            return Self::Spin;
        }
        let at = chance.below(world.imports.len());
        let import = &world.imports[at];
        let mut arguments = Vec::new();
        if let Imported::Function(types) = &import.what {
            for ty in types {
                arguments.extend(argument(chance, contract, ty));
            }
        }
        for _ in arguments.len()..import.params.len() {
            // The pointer to where the result is wanted, among others.
            let value = if chance.one_in(8) { chance.next() } else { u64::from(BASE) };
            arguments.push(Argument::Number(value));
        }
        arguments.truncate(import.params.len());
        let times = chance.size(100_000);
        Self::Import { index: u32::try_from(at).unwrap(), arguments, times }
    }
}

fn argument(chance: &mut Chance, contract: &Contract, ty: &Type) -> Vec<Argument> {
    let number = Argument::Number;
    match ty {
        Type::String => {
            let from = if chance.one_in(6) { chance.word() } else { BASE };
            let most = *chance.pick(&[64, 1 << 12, 1 << 25]);
            let length = if chance.one_in(8) { chance.word() } else { chance.size(most) };
            vec![number(from.into()), number(length.into())]
        }
        Type::Id(id) => match &contract.resolve.types[contract.plain(*id)].kind {
            TypeDefKind::Handle(_) if !chance.one_in(6) => vec![Argument::Handle],
            TypeDefKind::Enum(cases) => {
                let wrong = u32::from(chance.one_in(6)) * 200;
                vec![number(
                    (chance.small(u32::try_from(cases.cases.len()).unwrap()) + wrong).into(),
                )]
            }
            _ => flat(chance, width(&contract.resolve, ty)),
        },
        Type::U64 | Type::S64 | Type::F64 | Type::F32 => vec![number(chance.next())],
        _ => flat(chance, 1),
    }
}

/// Words of a value that has more parts.
fn flat(chance: &mut Chance, width: u32) -> Vec<Argument> {
    (0..width)
        .map(|_| {
            let value = if chance.one_in(4) { chance.next() } else { chance.small(4).into() };
            Argument::Number(value)
        })
        .collect()
}
