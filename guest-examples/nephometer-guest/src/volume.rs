//! Values with exact large integers.

/// Every integer below this one is exact as `f64`.
const EXACT_LIMIT: u64 = 1 << 53;
const EXACT_LIMIT_F64: f64 = EXACT_LIMIT as f64;

/// A value. Integers below 2^53 are exact as [`Volume::Float`]; larger ones are
/// [`Volume::Integer`] if they fit into an `i64`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Volume {
    /// An exact `f64`, or the nearest one.
    Float(f64),
    /// An integer of at least 2^53.
    Integer(i64),
}

impl From<f64> for Volume {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<i64> for Volume {
    fn from(value: i64) -> Self {
        if value.unsigned_abs() < EXACT_LIMIT {
            Self::Float(value as f64)
        } else {
            Self::Integer(value)
        }
    }
}

impl Volume {
    /// The nearest `f64`.
    #[inline]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Integer(value) => value as f64,
        }
    }

    /// The exact integer, if the value is one.
    pub fn as_integer(self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(value),
            Self::Float(value) => integer_of(value),
        }
    }

    /// The difference; exact between integers.
    #[inline]
    pub fn minus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Float(one), Self::Float(other)) if (one - other).abs() < EXACT_LIMIT_F64 => {
                Self::Float(one - other)
            }
            _ => self.exact_or_float(other, i64::checked_sub, |one, other| one - other),
        }
    }

    /// The sum; exact between integers.
    #[inline]
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Float(one), Self::Float(other)) if (one + other).abs() < EXACT_LIMIT_F64 => {
                Self::Float(one + other)
            }
            _ => self.exact_or_float(other, i64::checked_add, |one, other| one + other),
        }
    }

    #[cold]
    fn exact_or_float(
        self,
        other: Self,
        integers: fn(i64, i64) -> Option<i64>,
        floats: fn(f64, f64) -> f64,
    ) -> Self {
        let both = self.as_integer().zip(other.as_integer());
        match both.and_then(|(one, other)| integers(one, other)) {
            Some(exact) => exact.into(),
            None => Self::Float(floats(self.as_f64(), other.as_f64())),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the cast is undone and compared")]
fn integer_of(value: f64) -> Option<i64> {
    let integer = value as i64;
    (value.abs() < EXACT_LIMIT_F64 && integer as f64 == value).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: i64 = (1 << 60) + 1;

    #[test]
    fn integers_keep_their_last_digits() {
        let (large, one) = (Volume::from(LARGE), Volume::from(1.0));
        assert_eq!(large.plus(one), Volume::Integer(LARGE + 1));
        assert_eq!(large.minus(one), Volume::Integer(LARGE - 1));
        assert_eq!(large.minus(Volume::from(LARGE - 3)), Volume::Float(3.0));
        let edge = Volume::from((1 << 53) - 1);
        assert_eq!(edge, Volume::Float(EXACT_LIMIT_F64 - 1.0));
        assert_eq!(edge.plus(one), Volume::Integer(1 << 53));
        assert_eq!(edge.plus(one).plus(one), Volume::Integer((1 << 53) + 1));
        assert_eq!(large.plus(Volume::from(0.5)), Volume::Float(LARGE as f64));
    }

    #[test]
    fn overflow_returns_the_nearest_float() {
        let most = Volume::from(i64::MAX);
        assert_eq!(most.plus(most), Volume::Float(i64::MAX as f64 * 2.0));
        assert_eq!(Volume::from(1.5).as_integer(), None);
        assert_eq!(Volume::from(f64::NAN).as_integer(), None);
        assert_eq!(Volume::from(-4.0).as_integer(), Some(-4));
    }
}
