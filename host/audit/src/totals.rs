//! Sums over samples, as the collector keeps them.

use nephometer_proof::ProvedValue;
use serde::{Deserialize, Serialize};

use super::value::{read_value, write_value};

/// Sums over samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Number of samples.
    pub samples: u64,
    /// Number of those with a value.
    pub volumes: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest value.
    #[serde(serialize_with = "write_value", deserialize_with = "read_value")]
    pub min: ProvedValue,
    /// The largest value.
    #[serde(serialize_with = "write_value", deserialize_with = "read_value")]
    pub max: ProvedValue,
    /// What rounding has left out of the sum.
    #[serde(skip)]
    rest: f64,
}

impl Default for Sums {
    fn default() -> Self {
        Self::new([0, 0], 0.0, [ProvedValue::Null; 2])
    }
}

impl Sums {
    /// Sums that were computed elsewhere: the numbers of samples and of values, the sum, the smallest
    /// and the largest value.
    pub fn new([samples, volumes]: [u64; 2], sum: f64, [min, max]: [ProvedValue; 2]) -> Self {
        Self { samples, volumes, sum, min, max, rest: 0.0 }
    }

    /// Adds a sample.
    pub fn add(&mut self, value: ProvedValue) {
        self.samples += 1;
        let Some(number) = number(value) else { return };
        self.volumes += 1;
        self.add_number(number);
        self.widen(value, value);
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        self.volumes += other.volumes;
        self.add_number(other.sum);
        self.rest += other.rest;
        self.widen(other.min, other.max);
    }

    /// The sum of all values. Neumaier's method keeps what each addition rounds away.
    pub fn total(&self) -> f64 {
        self.sum + self.rest
    }

    /// The same with what rounding has left out, as they are written.
    #[must_use]
    pub fn written(self) -> Self {
        Self { sum: self.total(), rest: 0.0, ..self }
    }

    fn add_number(&mut self, number: f64) {
        let sum = self.sum + number;
        let (large, small) =
            if self.sum.abs() >= number.abs() { (self.sum, number) } else { (number, self.sum) };
        self.rest += (large - sum) + small;
        self.sum = sum;
    }

    fn widen(&mut self, low: ProvedValue, high: ProvedValue) {
        let lower = number(self.min).is_none_or(|min| number(low).is_some_and(|low| low < min));
        if lower && low != ProvedValue::Null {
            self.min = low;
        }
        if number(high) > number(self.max) {
            self.max = high;
        }
    }

    /// Whether both are sums of the same samples. Sums in another order may differ in their last digits.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let scale = self.total().abs().max(other.total().abs());
        self.samples == other.samples
            && self.volumes == other.volumes
            && (self.total() - other.total()).abs() <= 1e-9 * scale
            && number(self.min) == number(other.min)
            && number(self.max) == number(other.max)
    }
}

fn number(value: ProvedValue) -> Option<f64> {
    match value {
        ProvedValue::Null => None,
        ProvedValue::Double(value) => Some(value),
        ProvedValue::Integer(value) => Some(value as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_any_order_agree() {
        let values = [1e16, 1.0, -1e16, 0.25].map(ProvedValue::Double);
        let (mut one, mut other) = (Sums::default(), Sums::default());
        values.iter().chain([&ProvedValue::Null]).for_each(|value| one.add(*value));
        values.iter().rev().for_each(|value| other.add(*value));
        assert_eq!((one.samples, one.volumes, one.total()), (5, 4, 1.25));
        assert_eq!((one.min, one.max), (values[2], values[0]));
        assert!(!one.agrees(&other), "another number of samples");
        other.add(ProvedValue::Null);
        assert!(one.agrees(&other));
        let mut both = Sums::default();
        both.merge(&one);
        both.merge(&Sums::default());
        assert!(both.agrees(&one));
    }
}
