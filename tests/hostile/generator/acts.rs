//! What a component does in a call before it answers.

use wit_parser::{Type, TypeDefKind};

use super::chance::Chance;
use super::contract::{Contract, Imported, World, width};
use super::names;
use super::value::BASE;

/// The number of calls before a component receives work.
const EARLY: u32 = 2;

/// Where an act happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a function of the contract, by its index in the world.
    Export(usize),
    /// After the host has read the answer.
    Post(usize),
    Realloc,
    /// When the component is instantiated.
    Initialize,
    /// When the core module is instantiated.
    Start,
}

/// An act of a function.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Trap(Trap),
    Spin,
    /// Recurses until the stack is full, with this many locals in each call.
    Recurse(u32),
    /// Grows memory by this many pages at a time until it fails, then traps or continues.
    Grow {
        pages: u32,
        trap: bool,
    },
    /// Overwrites all of its memory, again and again.
    Fill,
    /// Calls an imported function this many times.
    Import {
        index: u32,
        arguments: Vec<Argument>,
        times: u32,
    },
    /// From this call on.
    From(u32, Box<Self>),
    /// Within functions with these names, each called by the next.
    Within(Vec<String>, Box<Self>),
    /// Returns this value at once.
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
    /// The handle argument of the function, if there is one.
    Handle,
}

impl Place {
    /// Any place, most likely a function of the contract.
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

    /// A trap, in functions with or without names.
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
        // A fault in the first calls is found before the component receives work.
        if chance.one_in(4) { act } else { Self::From(EARLY + chance.size(4), Box::new(act)) }
    }

    /// Whether it uses more memory than it had at the start.
    pub(super) fn is_greedy(&self) -> bool {
        match self {
            Self::Grow { .. } | Self::Fill => true,
            Self::From(_, act) | Self::Within(_, act) => act.is_greedy(),
            _ => false,
        }
    }

    /// The same act within named functions.
    fn named(self, chance: &mut Chance) -> Self {
        let names = (0..=chance.small(12)).map(|_| {
            let most = *chance.pick(&[100, 2_000, 60_000]);
            names::any(chance, most)
        });
        Self::Within(names.collect(), Box::new(self))
    }

    /// Calls of any imported function, often with invalid texts.
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
            // One of these is the address for the result.
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

/// The core values of a compound value.
fn flat(chance: &mut Chance, width: u32) -> Vec<Argument> {
    (0..width)
        .map(|_| {
            let value = if chance.one_in(4) { chance.next() } else { chance.small(4).into() };
            Argument::Number(value)
        })
        .collect()
}
