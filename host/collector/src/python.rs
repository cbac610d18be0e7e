//! Values in Python's notation, as `file://` without `json` writes them: the `repr` of a dictionary, of
//! Python 3 or 2.

use serde_json::{Map, Number, Value};

/// Values within values.
const DEPTH: usize = 64;

/// Whether a line is a dictionary in Python's notation. JSON has double quotes.
pub(crate) fn is_python(line: &[u8]) -> bool {
    line.starts_with(b"{'") || line.starts_with(b"{u'")
}

/// Reads the value of a line.
///
/// # Errors
/// With what is wrong, and at which character.
pub(crate) fn read(line: &str) -> Result<Value, String> {
    let mut reader = PythonReader { text: line, at: 0 };
    let value = reader.value(0)?;
    reader.blanks();
    if reader.at == line.len() { Ok(value) } else { Err(reader.wrong("text after the value")) }
}

struct PythonReader<'a> {
    text: &'a str,
    at: usize,
}

impl PythonReader<'_> {
    fn wrong(&self, what: &str) -> String {
        format!("not Python's notation: {what} at character {}", self.at + 1)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes a mark if it comes next.
    fn takes(&mut self, mark: &str) -> bool {
        self.blanks();
        let there = self.rest().starts_with(mark);
        if there {
            self.at += mark.len();
        }
        there
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH {
            return Err(self.wrong("too many levels"));
        }
        if self.takes("{") {
            return self.map(depth);
        }
        for (open, close) in [("[", "]"), ("(", ")")] {
            if self.takes(open) {
                return self.list(close, depth);
            }
        }
        for (word, value) in
            [("None", Value::Null), ("True", Value::Bool(true)), ("False", Value::Bool(false))]
        {
            if self.takes(word) {
                return Ok(value);
            }
        }
        let quoted = self.rest().trim_start_matches(['u', 'b']);
        if quoted.starts_with(['\'', '"']) {
            self.at = self.text.len() - quoted.len();
            return self.string().map(Value::String);
        }
        self.number()
    }

    fn map(&mut self, depth: usize) -> Result<Value, String> {
        let mut map = Map::new();
        while !self.takes("}") {
            let Value::String(key) = self.value(depth + 1)? else {
                return Err(self.wrong("a key that is no text"));
            };
            if !self.takes(":") {
                return Err(self.wrong("no colon"));
            }
            map.insert(key, self.value(depth + 1)?);
            if !self.takes(",") && !self.rest().starts_with('}') {
                return Err(self.wrong("no comma"));
            }
        }
        Ok(Value::Object(map))
    }

    fn list(&mut self, close: &str, depth: usize) -> Result<Value, String> {
        let mut list = Vec::new();
        while !self.takes(close) {
            list.push(self.value(depth + 1)?);
            if !self.takes(",") && !self.rest().starts_with(close) {
                return Err(self.wrong("no comma"));
            }
        }
        Ok(Value::Array(list))
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.next()?;
        let mut text = String::new();
        loop {
            match self.next()? {
                c if c == quote => return Ok(text),
                '\\' => {
                    let escaped = match self.next()? {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'x' => self.code(2)?,
                        'u' => self.code(4)?,
                        'U' => self.code(8)?,
                        c @ ('\\' | '\'' | '"') => c,
                        _ => return Err(self.wrong("an unknown escape")),
                    };
                    text.push(escaped);
                }
                c => text.push(c),
            }
        }
    }

    fn next(&mut self) -> Result<char, String> {
        let c = self.rest().chars().next().ok_or_else(|| self.wrong("the end"))?;
        self.at += c.len_utf8();
        Ok(c)
    }

    fn code(&mut self, digits: usize) -> Result<char, String> {
        let code = self.rest().get(..digits).and_then(|text| u32::from_str_radix(text, 16).ok());
        let c = code.and_then(char::from_u32).ok_or_else(|| self.wrong("no character"))?;
        self.at += digits;
        Ok(c)
    }

    fn number(&mut self) -> Result<Value, String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        let length = self.rest().find(|c| !is_part(c)).unwrap_or(self.rest().len());
        let text = self.rest()[..length].trim_end_matches('L');
        let whole = text.parse::<i64>().map(Number::from);
        let number = whole.or_else(|_| text.parse::<u64>().map(Number::from)).ok();
        let is_float = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let float = || text.parse().ok().filter(|_| is_float).and_then(Number::from_f64);
        let number = number.or_else(float).ok_or_else(|| self.wrong("no value"))?;
        self.at += length;
        Ok(Value::Number(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by Python itself.
    #[test]
    fn the_two_notations_of_a_file_are_the_same_samples() {
        let json = include_str!("../../../tests/vectors/samples.json.txt");
        let repr = include_str!("../../../tests/vectors/samples.repr.txt");
        for (json, repr) in json.lines().zip(repr.lines()) {
            assert!(is_python(repr.as_bytes()) && !is_python(json.as_bytes()));
            assert_eq!(read(repr).unwrap(), serde_json::from_str::<Value>(json).unwrap());
        }
    }

    #[test]
    fn what_is_not_python_is_refused() {
        let good = r#"{u'a': [1L, -2.5e+16, (True,)], 'b"\'': "x'\x41\u00e9\n"}"#;
        let expected = serde_json::json!({"a": [1, -2.5e16, [true]], "b\"'": "x'Aé\n"});
        assert_eq!(read(good).unwrap(), expected);
        for text in [
            "{'a'}",
            "{'a': }",
            "{'a': nan}",
            "{'a': 1",
            "{1: 2}",
            "{'a': 1} x",
            "{'a",
            "{'\\q': 1}",
            "[1 2]",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("not Python's notation"), "{text}: {error}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            drop(read(&text));
        }
    }
}
