//! Names that attack programs which print, parse or demangle them.

use super::chance::Chance;

/// A name of a function, section, field or export. Most are shorter than `most` bytes.
pub(super) fn any(chance: &mut Chance, most: u32) -> String {
    match chance.small(9) {
        0 => doubling(chance, most),
        1 => nested_templates(chance.size(most)),
        2 => legacy_rust(chance.size(most)),
        3 => doubling_rust(chance),
        4 => deep_rust(chance.size(most)),
        5 => "a".repeat(chance.size(most) as usize),
        _ => text(chance, most),
    }
}

/// A text that is not a valid name.
pub(super) fn text(chance: &mut Chance, most: u32) -> String {
    let piece = *chance.pick(&[
        "",
        "\0",
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "\n{\"level\":\"ERROR\",\"message\":\"forged\"}\n",
        "\r\nledger: 0 samples polled",
        "\u{202e}\u{2066}\u{200b}\u{feff}",
        "e\u{301}\u{302}\u{303}",
        "\u{10ffff}\u{e000}\u{fffd}",
        "../../../etc/passwd",
        "{}{:?}%s%n%x$(id)`id`",
        "nephometer: out of memory",
        "\u{9b}31m\u{85}\u{2028}",
        "{\"$ref\":\"#\"}",
        "[[[[[[[[[[",
        "*!***?**[a-",
    ]);
    let times = chance.size(most) as usize / piece.len().max(1);
    piece.repeat(times.max(1))
}

/// C++: each template argument is twice as long as the one before, by substitution.
fn doubling(chance: &mut Chance, most: u32) -> String {
    let (levels, length) = (1 + chance.small(40), chance.size(most) as usize);
    let mut name = format!("_Z1f{length}{}1BIS_S_E", "A".repeat(length));
    for level in 0..levels {
        let before = substitution(level + 2);
        name += &format!("{}I{before}{before}E", substitution(1));
    }
    name
}

/// The substitution with this index in base 36: `S_`, `S0_` and so on.
fn substitution(number: u32) -> String {
    if number == 0 {
        return "S_".to_owned();
    }
    format!("S{}_", digits(number - 1, 36).to_uppercase())
}

/// C++: nested pointers or templates.
fn nested_templates(length: u32) -> String {
    let depth = length as usize / 4;
    if length.is_multiple_of(2) {
        format!("_Z1f{}i", "P".repeat(length as usize))
    } else {
        format!("_Z1f{}i{}", "1AI".repeat(depth), "E".repeat(depth))
    }
}

/// Rust's legacy mangling: a path of many parts and a hash.
fn legacy_rust(length: u32) -> String {
    format!("_ZN{}17h0123456789abcdefE", "9$LT$u7e$GT".repeat(length as usize / 11))
}

/// Rust: each tuple is twice as long as the one before, by back references.
fn doubling_rust(chance: &mut Chance) -> String {
    let mut name = "INvC1a1f".to_owned();
    let mut last = name.len();
    name.push('j');
    for _ in 0..1 + chance.small(40) {
        let place = name.len();
        let back = match u32::try_from(last).unwrap() {
            0 => "B_".to_owned(),
            before => format!("B{}_", digits(before - 1, 62)),
        };
        name += &format!("T{back}{back}E");
        last = place;
    }
    format!("_R{name}E")
}

/// Rust: nested slices.
fn deep_rust(length: u32) -> String {
    format!("_RINvC1a1f{}jE", "S".repeat(length as usize))
}

fn digits(mut number: u32, base: u32) -> String {
    const ALL: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut found = Vec::new();
    loop {
        found.push(char::from(ALL[(number % base) as usize]));
        number /= base;
        if number == 0 {
            return found.into_iter().rev().collect();
        }
    }
}
