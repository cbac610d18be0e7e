//! The tree of an expression, its constant folding and its evaluation.

use crate::EvaluateError;
use crate::compare::compare;
use crate::number::{arithmetic, negative, positive};
use crate::value::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unary {
    Minus,
    Plus,
    Not,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Is,
    IsNot,
}

#[derive(Debug)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Name(String),
    /// `object.name` and `object["name"]`.
    Key(Box<Node>, String),
    /// `object[key]`.
    Item(Box<[Node; 2]>),
    Unary(Unary, Box<Node>),
    Binary(Binary, Box<[Node; 2]>),
    Logic(Logic, Box<[Node; 2]>),
    /// A chain: `a < b <= c`.
    Compare(Box<Node>, Vec<(Comparison, Node)>),
    /// A list literal, on the right of `in`.
    Members(Vec<Node>),
    /// `value if condition else other`, in the order condition, value, other.
    Choice(Box<[Node; 3]>),
}

impl Node {
    pub(crate) fn is_constant(&self) -> bool {
        matches!(self, Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_))
    }

    pub(crate) fn is_singleton(&self) -> bool {
        matches!(self, Self::None | Self::Bool(_))
    }

    /// The name of a called function, for error messages.
    pub(crate) fn last_name(&self) -> Option<&str> {
        match self {
            Self::Name(name) | Self::Key(_, name) => Some(name),
            _ => None,
        }
    }

    /// Folds a node whose parts are all constant; the parts have been folded before. A node that
    /// fails is kept and fails at each evaluation, as in Python.
    pub(crate) fn folded(self) -> Self {
        let constant = match &self {
            Self::Unary(_, operand) => operand.is_constant(),
            Self::Item(parts) | Self::Binary(_, parts) | Self::Logic(_, parts) => {
                parts.iter().all(Self::is_constant)
            }
            Self::Choice(parts) => parts.iter().all(Self::is_constant),
            Self::Compare(first, rest) => {
                first.is_constant() && rest.iter().all(|(_, right)| right.is_constant())
            }
            _ => false,
        };
        if !constant {
            return self;
        }
        let value = self.evaluate(&|_| Value::Missing).map(Value::into_constant);
        value.ok().flatten().unwrap_or(self)
    }

    pub(crate) fn evaluate<'a>(
        &'a self,
        names: &dyn Fn(&str) -> Value<'a>,
    ) -> Result<Value<'a>, EvaluateError> {
        Ok(match self {
            Self::None => Value::None,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => Value::Int(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Text(text) => Value::Text(text.into()),
            Self::Name(name) => names(name),
            Self::Key(object, name) => object.evaluate(names)?.key(name)?,
            Self::Item(parts) => {
                let [object, key] = &**parts;
                object.evaluate(names)?.item(&key.evaluate(names)?)?
            }
            Self::Unary(operator, operand) => {
                let value = operand.evaluate(names)?;
                match operator {
                    Unary::Not => Value::Bool(!value.is_true()),
                    Unary::Minus => negative(&value)?,
                    Unary::Plus => positive(&value)?,
                }
            }
            Self::Binary(operator, parts) => {
                let [left, right] = &**parts;
                arithmetic(*operator, &left.evaluate(names)?, &right.evaluate(names)?)?
            }
            Self::Logic(logic, parts) => {
                let [left, right] = &**parts;
                let value = left.evaluate(names)?;
                if value.is_true() == (*logic == Logic::Or) {
                    value
                } else {
                    right.evaluate(names)?
                }
            }
            Self::Compare(first, rest) => Value::Bool(chain(first, rest, names)?),
            Self::Members(_) => return Err(EvaluateError("a list is not a value here".into())),
            Self::Choice(parts) => {
                let [condition, value, otherwise] = &**parts;
                let chosen = if condition.evaluate(names)?.is_true() { value } else { otherwise };
                chosen.evaluate(names)?
            }
        })
    }

    /// Collects the longest known path of keys from each name that is read.
    pub(crate) fn collect_reads<'a>(&'a self, reads: &mut Vec<Vec<&'a str>>) {
        if let Some(path) = self.path() {
            reads.push(path);
            return;
        }
        match self {
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => {}
            Self::Name(_) => {}
            Self::Key(operand, _) | Self::Unary(_, operand) => operand.collect_reads(reads),
            Self::Item(parts) | Self::Binary(_, parts) | Self::Logic(_, parts) => {
                parts.iter().for_each(|part| part.collect_reads(reads));
            }
            Self::Compare(first, rest) => {
                first.collect_reads(reads);
                rest.iter().for_each(|(_, right)| right.collect_reads(reads));
            }
            Self::Members(members) => members.iter().for_each(|one| one.collect_reads(reads)),
            Self::Choice(parts) => parts.iter().for_each(|part| part.collect_reads(reads)),
        }
    }

    fn path(&self) -> Option<Vec<&str>> {
        match self {
            Self::Name(name) => Some(vec![name]),
            Self::Key(object, name) => {
                let mut path = object.path()?;
                path.push(name);
                Some(path)
            }
            _ => None,
        }
    }
}

fn chain<'a>(
    first: &'a Node,
    rest: &'a [(Comparison, Node)],
    names: &dyn Fn(&str) -> Value<'a>,
) -> Result<bool, EvaluateError> {
    let mut left = first.evaluate(names)?;
    for (comparison, right) in rest {
        if let Node::Members(members) = right {
            let mut found = false;
            for member in members {
                found = found || left.equals(&member.evaluate(names)?);
            }
            if found != (*comparison == Comparison::In) {
                return Ok(false);
            }
            continue;
        }
        let right = right.evaluate(names)?;
        if !compare(*comparison, &left, &right)? {
            return Ok(false);
        }
        left = right;
    }
    Ok(true)
}
