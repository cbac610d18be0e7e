//! Texts of a width in columns of a terminal. Some characters are two columns wide.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Bold text, up to [`PLAIN`].
pub(super) const BOLD: &str = "\x1b[1m";
/// The end of a style.
const PLAIN: &str = "\x1b[0m";

/// The size and abilities of an output that is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    /// Columns.
    pub(super) columns: usize,
    /// Rows.
    pub(super) rows: usize,
    /// Whether text may have styles.
    pub(super) styled: bool,
}

impl Canvas {
    /// Cuts a line to the columns.
    pub(super) fn fit(self, line: &str) -> String {
        cut(line, self.columns)
    }

    /// A line in a style, cut to the columns.
    pub(super) fn style(self, style: &str, line: &str) -> String {
        let line = self.fit(line);
        if self.styled { format!("{style}{line}{PLAIN}") } else { line }
    }
}

/// How urgently a reader should see a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    /// It may end by itself.
    Soon,
    /// Something fails.
    Now,
}

/// How urgent the state of a sink, component or domain is; `None` if it is as it should be.
pub(super) fn attention(state: &str) -> Option<Attention> {
    match state.split_whitespace().next()? {
        "failing" | "quarantined" | "stuck" | "timeout" | "failed" => Some(Attention::Now),
        "preparing" | "waiting" | "partial" | "metadata" => Some(Attention::Soon),
        _ => None,
    }
}

/// The columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// A text of at most this width; one that is cut ends in an ellipsis.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut kept = prefix(text, most.saturating_sub(1)).to_owned();
    kept.push('…');
    kept
}

/// The longest beginning of a text that is at most this wide.
pub(super) fn prefix(text: &str, most: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > most
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// A text of exactly this width.
pub(super) fn padded(text: &str, exactly: usize) -> String {
    let text = cut(text, exactly);
    let missing = exactly - width(&text);
    text + &" ".repeat(missing)
}

/// A text of at least this width.
pub(super) fn padded_at_least(text: &str, least: usize) -> String {
    let missing = least.saturating_sub(width(text));
    text.to_owned() + &" ".repeat(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_are_two_columns() {
        assert_eq!(padded("構築-00", 9), "構築-00  ");
        assert_eq!(padded("構築構築構築", 6), "構築… ");
        assert_eq!(cut("größer", 6), "größer");
        assert_eq!(cut("größer", 4), "grö…");
        assert_eq!(prefix("構築", 3), "構");
        assert_eq!(prefix("", 3), "");
    }
}
