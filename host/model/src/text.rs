//! Makes foreign text safe for logs and terminals: one line, bounded, without control characters.

use super::bounds::Bound;

/// Returns one line without control characters, cut to [`Bound::TextBytes`]: text of a guest, a file
/// or a peer must not move the cursor of a terminal or forge another line.
pub fn clean(text: &str) -> String {
    let most = Bound::TextBytes.size();
    let mut line = String::with_capacity(text.len().min(most));
    for c in beginning(text).trim_end().chars() {
        if line.len() + c.len_utf8() > most {
            line.push_str(" [cut]");
            break;
        }
        if is_hostile(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// The beginning of a text that may be visible after [`clean`]; the text itself may be very long.
pub fn beginning(text: &str) -> &str {
    // One character more than is kept, so that `clean` detects the cut.
    &text[..text.floor_char_boundary(Bound::TextBytes.size() + char::MAX.len_utf8())]
}

/// Whether a terminal interprets this character instead of showing it: control characters, and those
/// that change the direction of text or begin a new line in Unicode.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_harmless() {
        assert_eq!(clean("all is well\n"), "all is well");
        assert_eq!(clean("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
        assert_eq!(clean("\u{9b}2J\u{202e}txt"), "\\u{9b}2J\\u{202e}txt");
        let most = Bound::TextBytes.size();
        assert_eq!(clean(&"x".repeat(most)), "x".repeat(most));
        assert_eq!(clean(&"x".repeat(most + 1)), format!("{} [cut]", "x".repeat(most)));
        let long = clean(&"ä".repeat(2_000));
        assert!(long.len() <= most + " [cut]".len(), "{}", long.len());
    }
}
