//! Texts of others on their way to people: one line, bounded, without anything that moves a cursor.

use super::bounds::Bound;

/// One line without control characters, cut to [`Bound::TextBytes`]: what a guest, a file or a peer
/// writes must not move a terminal's cursor or look like another line.
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

/// As much of a text as can be seen in a line: it may be as long as what a call may hand over.
pub fn beginning(text: &str) -> &str {
    // One character more than is kept shows that there were more.
    &text[..text.floor_char_boundary(Bound::TextBytes.size() + char::MAX.len_utf8())]
}

/// Whether a terminal does something on this character other than show it: control characters, and
/// those that change the direction of text or begin a new line in Unicode.
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
