//! The lexer: splits an expression into tokens.

use crate::ParseError;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Int(i128),
    Float(f64),
    Text(String),
    /// A name or a keyword.
    Word(String),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// Longer signs first, so that `**` is one token.
const SIGNS: [&str; 32] = [
    "**", "//", "==", "!=", "<=", ">=", "<<", ">>", ":=", "->", "+", "-", "*", "/", "%", "<", ">",
    "(", ")", "[", "]", "{", "}", ".", ",", ":", "=", "|", "&", "^", "~", "@",
];

/// The tokens of a text, each with its column; the last one is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ParseError> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let column = lexer.at + 1;
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push((column, token));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn error(&self, at: usize, reason: impl Into<String>) -> ParseError {
        ParseError { column: at + 1, reason: reason.into() }
    }

    fn skip_blank(&mut self) {
        while let Some(char) = self.peek(0) {
            if char == '#' {
                while self.peek(0).is_some_and(|char| char != '\n') {
                    self.at += 1;
                }
            } else if char.is_ascii_whitespace() {
                self.at += 1;
            } else {
                break;
            }
        }
    }

    fn token(&mut self) -> Result<Token, ParseError> {
        let Some(first) = self.peek(0) else { return Ok(Token::End) };
        let fraction = first == '.' && self.peek(1).is_some_and(|char| char.is_ascii_digit());
        if first.is_ascii_digit() || fraction {
            return self.number();
        }
        if first == '"' || first == '\'' {
            return self.text(false);
        }
        if first.is_alphabetic() || first == '_' {
            return self.word();
        }
        for sign in SIGNS {
            if sign.chars().enumerate().all(|(n, char)| self.peek(n) == Some(char)) {
                self.at += sign.len();
                return Ok(Token::Sign(sign));
            }
        }
        Err(self.error(self.at, format!("unexpected {first:?}")))
    }

    fn word(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        let word = self.take_while(|char| char.is_alphanumeric() || char == '_');
        if matches!(self.peek(0), Some('"' | '\'')) {
            return match word.as_str() {
                "u" | "U" => self.text(false),
                "r" | "R" => self.text(true),
                _ => {
                    Err(self
                        .error(start, format!("strings of the form {word}'...' are not available")))
                }
            };
        }
        Ok(Token::Word(word))
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn number(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        let radix = match (self.peek(0), self.peek(1)) {
            (Some('0'), Some('x' | 'X')) => 16,
            (Some('0'), Some('o' | 'O')) => 8,
            (Some('0'), Some('b' | 'B')) => 2,
            _ => 10,
        };
        if radix != 10 {
            self.at += 2;
            let digits = self.take_while(|char| char.is_ascii_alphanumeric() || char == '_');
            return i128::from_str_radix(&digits.replace('_', ""), radix)
                .map(Token::Int)
                .map_err(|_| self.error(start, "not an integer of at most 128 bits"));
        }
        let digit = |char: char| char.is_ascii_digit() || char == '_';
        let mut text = self.take_while(digit);
        let whole = text.len();
        if self.peek(0) == Some('.') {
            self.at += 1;
            text.push('.');
            text.push_str(&self.take_while(digit));
        }
        let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
        let exponent = matches!(self.peek(0), Some('e' | 'E'))
            && self.peek(1 + sign).is_some_and(|char| char.is_ascii_digit());
        if exponent {
            text.extend(&self.chars[self.at..=self.at + sign]);
            self.at += 1 + sign;
            text.push_str(&self.take_while(digit));
        }
        self.finish_number(start, &text, text.len() == whole)
    }

    fn finish_number(&self, start: usize, text: &str, whole: bool) -> Result<Token, ParseError> {
        let misplaced = text.ends_with('_') || text.contains("__") || text.contains("_.");
        if misplaced || self.peek(0).is_some_and(|char| char.is_alphanumeric() || char == '_') {
            return Err(self.error(start, "not a number"));
        }
        let digits = text.replace('_', "");
        if whole && digits.starts_with('0') && digits.bytes().any(|digit| digit != b'0') {
            return Err(self.error(start, "integers must not begin with 0"));
        }
        if whole && let Ok(number) = digits.parse() {
            return Ok(Token::Int(number));
        }
        digits.parse().map(Token::Float).map_err(|_| self.error(start, "not a number"))
    }

    fn text(&mut self, raw: bool) -> Result<Token, ParseError> {
        let start = self.at;
        let quote = self.peek(0);
        let triple = self.peek(1) == quote && self.peek(2) == quote;
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut text = String::new();
        loop {
            let Some(char) = self.peek(0) else {
                return Err(self.error(start, "unterminated string"));
            };
            if (0..width).all(|n| self.peek(n) == quote) {
                self.at += width;
                return Ok(Token::Text(text));
            }
            self.at += 1;
            if char != '\\' {
                text.push(char);
            } else if raw {
                text.push(char);
                text.extend(self.peek(0));
                self.at += 1;
            } else {
                self.escape(&mut text)?;
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<(), ParseError> {
        let start = self.at - 1;
        let Some(char) = self.peek(0) else { return Ok(()) };
        self.at += 1;
        match char {
            '\n' => {}
            '\\' | '\'' | '"' => text.push(char),
            'a' => text.push('\x07'),
            'b' => text.push('\x08'),
            'f' => text.push('\x0c'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'v' => text.push('\x0b'),
            'x' => text.push(self.code(start, 2, 16)?),
            'u' => text.push(self.code(start, 4, 16)?),
            'U' => text.push(self.code(start, 8, 16)?),
            '0'..='7' => {
                self.at -= 1;
                let octal = |n| self.peek(n).is_some_and(|char| char.is_digit(8));
                let digits = (0..3).take_while(|&n| octal(n)).count();
                text.push(self.code(start, digits, 8)?);
            }
            // Python keeps the backslash of an unknown escape.
            other => text.extend(['\\', other]),
        }
        Ok(())
    }

    fn code(&mut self, start: usize, digits: usize, radix: u32) -> Result<char, ParseError> {
        let end = self.at + digits;
        let text: String = self.chars.get(self.at..end).unwrap_or(&[]).iter().collect();
        self.at = end;
        let code = u32::from_str_radix(&text, radix).ok().filter(|_| !text.starts_with('+'));
        code.and_then(char::from_u32).ok_or_else(|| self.error(start, "not a character"))
    }
}
