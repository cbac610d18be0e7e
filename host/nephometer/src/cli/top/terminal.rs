//! The terminal of a live view: raw keys, a screen of its own, and the way back.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::sync::mpsc;

use crate::cli::output;

/// Keys that wait. A reader that is this far behind loses keys.
const KEYS: usize = 16;

/// A key that the view knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Left,
    Right,
    Char(char),
}

/// Whether standard input and output are a terminal that can move its cursor.
pub(super) fn is_capable() -> bool {
    io::stdin().is_terminal() && output::can_redraw()
}

/// A screen of its own without a cursor, and a terminal that hands over each key. Everything is as before
/// at the end, also after a panic.
pub(super) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        // Interrupts are keys: the terminal has to be restored first.
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let terminal = Self { before };
        let mut out = output::terminal();
        write!(out, "\x1b[?1049h\x1b[?25l\x1b[2J")?;
        out.flush()?;
        Ok(terminal)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let mut out = output::terminal();
        // A terminal that is gone needs nothing.
        drop(write!(out, "\x1b[?25h\x1b[?1049l").and_then(|()| out.flush()));
        let _restored = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Reads keys on a thread of its own, which ends with the process.
pub(super) fn keys() -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        let mut bytes = [0; 32];
        while let Ok(length @ 1..) = io::stdin().read(&mut bytes) {
            for key in parse(&bytes[..length]) {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// The keys of what a terminal sent at once.
fn parse(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    loop {
        let (key, length) = match rest {
            [] => return keys,
            [0x1b, b'[' | b'O', code, ..] => {
                let key = match code {
                    b'A' => Some(Key::Up),
                    b'B' => Some(Key::Down),
                    b'C' => Some(Key::Right),
                    b'D' => Some(Key::Left),
                    _ => None,
                };
                (key, 3)
            }
            // The escape key alone, and other sequences.
            [0x1b, ..] => (None, rest.len()),
            [byte, ..] => (byte.is_ascii().then_some(Key::Char(char::from(*byte))), 1),
        };
        keys.extend(key);
        rest = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_characters_and_arrows() {
        let all = [Key::Char('q'), Key::Up, Key::Right, Key::Char('\u{3}')];
        assert_eq!(parse(b"q\x1b[A\x1bOC\x03"), all);
        assert_eq!(parse(b"\x1b"), []);
        assert_eq!(parse("é\x1b[Z".as_bytes()), []);
    }
}
