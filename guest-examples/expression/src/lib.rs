//! The Python expressions of `pipeline.yaml`, without calls.
//!
//! Upstream evaluates `scale` and `expr` with Python's `eval` over a sample; this is the part of
//! the language that works there: literals, arithmetic, comparison, `and`/`or`/`not`,
//! `x if c else y`, attribute and item access. An expression is parsed once, its constant parts are
//! computed then, and it can tell which names it reads.
//!
//! The numbers are Python 3's: whole numbers and floats are different, `/` always gives a float,
//! `//` and `%` follow the sign of the divisor, true is 1. Whole numbers have 128 bits; what does
//! not fit goes on as a float, where Python would go on exactly. A name that is missing, at any
//! depth, is an empty namespace: false in a condition, equal to nothing (upstream to itself), and an
//! error in arithmetic. Access below anything else than a namespace is an error.

mod compare;
mod node;
mod number;
mod parse;
mod token;
mod value;

use std::borrow::Cow;
use std::fmt;

use node::Node;
pub use value::Value;

/// How many words, numbers and signs an expression may have. It bounds the depth of the tree too,
/// and so the stack that evaluation takes.
pub const LONGEST: usize = 500;

/// A parsed expression.
#[derive(Debug)]
pub struct Expression {
    root: Node,
}

/// What is wrong with the text of an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The column, in characters from 1.
    pub column: usize,
    /// What is wrong and, where it helps, what would be right.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.reason)
    }
}

impl std::error::Error for ParseError {}

/// Why an expression has no value for a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluateError(pub(crate) Cow<'static, str>);

impl fmt::Display for EvaluateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EvaluateError {}

impl Expression {
    /// Parses a text.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text).map(|root| Self { root })
    }

    /// The value of the expression; `names` gives the values of the names in it.
    pub fn evaluate<'a>(
        &'a self,
        names: &dyn Fn(&str) -> Value<'a>,
    ) -> Result<Value<'a>, EvaluateError> {
        self.root.evaluate(names)
    }

    /// The value of the expression where only a finite number will do; true is 1.
    pub fn number<'a>(&'a self, names: &dyn Fn(&str) -> Value<'a>) -> Result<f64, EvaluateError> {
        let value = self.evaluate(names)?;
        let Some(number) = value.as_number() else {
            let reason = format!("the result is {}, not a number", value.kind());
            return Err(EvaluateError(reason.into()));
        };
        if number.is_finite() {
            Ok(number)
        } else {
            Err(EvaluateError("the result is not a finite number".into()))
        }
    }

    /// The names at the root of what is read, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.reads().into_iter().map(|path| path[0]).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What is read below a name, as dotted paths; `*` if it is all of it. None of the paths is
    /// part of another.
    pub fn paths_below(&self, root: &str) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        for path in self.reads().into_iter().filter(|path| path[0] == root) {
            // A path cannot say a key with these in it: take what holds the key.
            let plain = |key: &&&str| !key.is_empty() && !key.contains(['.', '*']);
            let keys: Vec<&str> = path[1..].iter().take_while(plain).copied().collect();
            paths.push(if keys.is_empty() { "*".to_owned() } else { keys.join(".") });
        }
        if paths.iter().any(|path| path == "*") {
            return vec!["*".to_owned()];
        }
        let covered = |path: &str| {
            paths.iter().any(|other| path.strip_prefix(other).is_some_and(|r| r.starts_with('.')))
        };
        let mut least: Vec<String> = paths.iter().filter(|path| !covered(path)).cloned().collect();
        least.sort_unstable();
        least.dedup();
        least
    }

    fn reads(&self) -> Vec<Vec<&str>> {
        let mut reads = Vec::new();
        self.root.collect_reads(&mut reads);
        reads
    }
}

#[cfg(test)]
mod tests;
