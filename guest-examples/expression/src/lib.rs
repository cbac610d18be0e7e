//! The Python expressions of `pipeline.yaml`, without calls.
//!
//! Ceilometer evaluates `scale` and `expr` with Python's `eval` over a sample. This crate
//! implements the part of the language that is used there: literals, arithmetic, comparisons,
//! `and`/`or`/`not`, `x if c else y`, attribute and item access. An expression is parsed once, and
//! its constant parts are folded. It reports which names it reads.
//!
//! Numbers are those of Python 3: integers and floats differ, `/` always returns a float, `//` and
//! `%` follow the sign of the divisor, true is 1. Integers have 128 bits; larger results become
//! floats, where Python stays exact. A missing name, at any depth, is an empty namespace: false in
//! a condition, equal to nothing (in Ceilometer to itself), and an error in arithmetic. Access
//! below anything but a namespace is an error.

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

/// The maximum number of tokens of an expression. It also bounds the depth of the tree, and so the
/// stack that evaluation needs.
pub const MAX_TOKENS: usize = 500;

/// A parsed expression.
#[derive(Debug)]
pub struct Expression {
    root: Node,
}

/// An error in the text of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The column, in characters from 1.
    pub column: usize,
    /// What is wrong and, if useful, what would be right.
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
    /// Parses an expression.
    ///
    /// # Errors
    /// The first error in the text.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text).map(|root| Self { root })
    }

    /// Evaluates the expression; `names` returns the values of names.
    ///
    /// # Errors
    /// As Python would raise, such as a division by zero.
    pub fn evaluate<'a>(
        &'a self,
        names: &dyn Fn(&str) -> Value<'a>,
    ) -> Result<Value<'a>, EvaluateError> {
        self.root.evaluate(names)
    }

    /// Evaluates the expression to a finite number; true is 1.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and if the value is not a finite number.
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

    /// The names that the expression reads, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.reads().into_iter().map(|path| path[0]).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The dotted paths that the expression reads below a name; `*` for everything. No path is a
    /// prefix of another.
    pub fn paths_below(&self, root: &str) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        for path in self.reads().into_iter().filter(|path| path[0] == root) {
            // A path cannot contain such a key: use the path of the namespace that holds it.
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
