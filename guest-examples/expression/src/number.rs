//! Arithmetic, as in Python.

use crate::EvaluateError;
use crate::node::Binary;
use crate::value::Value;

type Computed<'a> = Result<Value<'a>, EvaluateError>;

/// The maximum length of a string that arithmetic returns, in bytes.
const MAX_STRING: usize = 10_000;

pub(crate) fn negative<'a>(value: &Value<'a>) -> Computed<'a> {
    match (value.as_whole(), value.as_number()) {
        (Some(whole), _) => {
            Ok(whole.checked_neg().map_or(Value::Float(-(whole as f64)), Value::Int))
        }
        (None, Some(number)) => Ok(Value::Float(-number)),
        (None, None) => Err(unsupported("-", value)),
    }
}

pub(crate) fn positive<'a>(value: &Value<'a>) -> Computed<'a> {
    match (value.as_whole(), value.as_number()) {
        (Some(whole), _) => Ok(Value::Int(whole)),
        (None, Some(number)) => Ok(Value::Float(number)),
        (None, None) => Err(unsupported("+", value)),
    }
}

fn unsupported(sign: &str, value: &Value<'_>) -> EvaluateError {
    EvaluateError(format!("unsupported operand for '{sign}': {}", value.kind()).into())
}

pub(crate) fn arithmetic<'a>(
    operator: Binary,
    left: &Value<'a>,
    right: &Value<'a>,
) -> Computed<'a> {
    if let (Some(left), Some(right)) = (left.as_whole(), right.as_whole()) {
        return whole(operator, left, right);
    }
    if let (Some(left), Some(right)) = (left.as_number(), right.as_number()) {
        return float(operator, left, right).map(Value::Float);
    }
    match (operator, left, right) {
        (Binary::Add, Value::Text(left), Value::Text(right)) => {
            Ok(Value::Text(format!("{left}{right}").into()))
        }
        (Binary::Multiply, Value::Text(text), times)
        | (Binary::Multiply, times, Value::Text(text))
            if times.as_whole().is_some() =>
        {
            let times = usize::try_from(times.as_whole().unwrap_or(0).max(0)).unwrap_or(usize::MAX);
            if text.len().saturating_mul(times) > MAX_STRING {
                return Err(EvaluateError("string result too long".into()));
            }
            Ok(Value::Text(text.repeat(times).into()))
        }
        _ => {
            let operand = if left.as_number().is_none() { left } else { right };
            Err(unsupported(sign(operator), operand))
        }
    }
}

fn sign(operator: Binary) -> &'static str {
    match operator {
        Binary::Add => "+",
        Binary::Subtract => "-",
        Binary::Multiply => "*",
        Binary::Divide => "/",
        Binary::FloorDivide => "//",
        Binary::Modulo => "%",
        Binary::Power => "**",
    }
}

fn by_zero() -> EvaluateError {
    EvaluateError("division by zero".into())
}

/// Integers stay integers; a result that does not fit becomes a float.
fn whole<'a>(operator: Binary, left: i128, right: i128) -> Computed<'a> {
    let exact = match operator {
        Binary::Add => left.checked_add(right),
        Binary::Subtract => left.checked_sub(right),
        Binary::Multiply => left.checked_mul(right),
        Binary::Divide => None,
        Binary::FloorDivide | Binary::Modulo if right == 0 => return Err(by_zero()),
        Binary::FloorDivide => left.checked_div(right).map(|quotient| {
            let inexact = left % right != 0;
            quotient - i128::from(inexact && (left < 0) != (right < 0))
        }),
        Binary::Modulo => left
            .checked_rem(right)
            .map(|rest| if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest }),
        Binary::Power => u32::try_from(right).ok().and_then(|power| left.checked_pow(power)),
    };
    match exact {
        Some(number) => Ok(Value::Int(number)),
        None => float(operator, left as f64, right as f64).map(Value::Float),
    }
}

fn float(operator: Binary, left: f64, right: f64) -> Result<f64, EvaluateError> {
    let divides = matches!(operator, Binary::Divide | Binary::FloorDivide | Binary::Modulo);
    if divides && right == 0.0 {
        return Err(by_zero());
    }
    Ok(match operator {
        Binary::Add => left + right,
        Binary::Subtract => left - right,
        Binary::Multiply => left * right,
        Binary::Divide => left / right,
        Binary::FloorDivide => floor_and_rest(left, right).0,
        Binary::Modulo => floor_and_rest(left, right).1,
        Binary::Power => power(left, right)?,
    })
}

/// Quotient and remainder as CPython computes them, including signed zeros and rounding.
fn floor_and_rest(left: f64, right: f64) -> (f64, f64) {
    let mut rest = left % right;
    let mut quotient = (left - rest) / right;
    if rest == 0.0 {
        rest = 0.0_f64.copysign(right);
    } else if (right < 0.0) != (rest < 0.0) {
        rest += right;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0_f64.copysign(left / right), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

fn power(base: f64, exponent: f64) -> Result<f64, EvaluateError> {
    if base == 0.0 && exponent < 0.0 {
        return Err(EvaluateError("0 cannot be raised to a negative power".into()));
    }
    let result = base.powf(exponent);
    if result.is_nan() && !base.is_nan() && !exponent.is_nan() {
        return Err(EvaluateError("'**' has no real result for a negative base".into()));
    }
    if result.is_infinite() && base.is_finite() && exponent.is_finite() {
        return Err(EvaluateError("the result of '**' is too large".into()));
    }
    Ok(result)
}
