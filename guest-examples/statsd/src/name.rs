//! Names that every StatsD daemon accepts, and the Graphite behind it.

/// Keeps letters, digits, `_`, `-` and the dots between levels. Everything else, such as the `:`,
/// `|`, `@` and line breaks of the protocol, becomes `_`.
pub(crate) fn levels(text: &str) -> String {
    text.chars().map(|letter| if letter == '.' { letter } else { plain(letter) }).collect()
}

/// The same for a single level: dots become `_`, too.
pub(crate) fn level(text: &str) -> String {
    text.chars().map(plain).collect()
}

fn plain(letter: char) -> char {
    if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_replaced() {
        assert_eq!(levels("disk.read:1|c@0.1#t\nx y/ü_-"), "disk.read_1_c_0.1_t_x_y___-");
        assert_eq!(level("a.b"), "a_b");
    }
}
