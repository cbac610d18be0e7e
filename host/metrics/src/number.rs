//! Numbers as text: in the format of Ceilometer's exporter, and exactly, in base units.

use nephometer_model::Volume;

/// A number as Python's `prometheus_client` writes it: a double, with the exponents of Go.
pub(super) fn as_prometheus_client(value: f64) -> String {
    if !value.is_finite() {
        return non_finite(value).to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    if value > 0.0 && exponent >= 6 {
        return format!("{mantissa}e+{exponent:02}");
    }
    let fixed = format!("{value}");
    if fixed.contains('.') { fixed } else { fixed + ".0" }
}

/// A volume times a power of ten or of two, exactly if it is a whole number.
pub(super) fn scaled(volume: Volume, scale: Scale) -> String {
    match (volume, scale) {
        (Volume::Integer(whole), Scale::One) => whole.to_string(),
        (Volume::Integer(whole), Scale::Times(factor)) => {
            whole.checked_mul(i128::from(factor)).unwrap_or(whole).to_string()
        }
        (Volume::Integer(whole), Scale::Nano) => decimal(whole, 9),
        (Volume::Integer(whole), Scale::Milli) => decimal(whole, 3),
        (Volume::Float(float), scale) => plain(float * scale.factor()),
    }
}

/// How a unit relates to its base unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    One,
    /// Of nanoseconds.
    Nano,
    /// Of milliseconds.
    Milli,
    Times(u32),
}

impl Scale {
    fn factor(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Nano => 1e-9,
            Self::Milli => 1e-3,
            Self::Times(factor) => f64::from(factor),
        }
    }
}

/// A number of the smallest of `digits` decimals, with as many of them as are needed.
fn decimal(whole: i128, digits: usize) -> String {
    let one = (0..digits).fold(1_u128, |one, _| one * 10);
    let sign = if whole < 0 { "-" } else { "" };
    let (units, rest) = (whole.unsigned_abs() / one, whole.unsigned_abs() % one);
    if rest == 0 {
        return format!("{sign}{units}");
    }
    let decimals = format!("{rest:0digits$}");
    format!("{sign}{units}.{}", decimals.trim_end_matches('0'))
}

/// A double in the shortest form.
pub(super) fn plain(value: f64) -> String {
    match value.is_finite() {
        true if value.abs() >= 1e16 || (value != 0.0 && value.abs() < 1e-4) => format!("{value:e}"),
        true => value.to_string(),
        false => non_finite(value).to_owned(),
    }
}

fn non_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by `prometheus_client.utils.floatToGoString` of release 0.26.
    #[test]
    fn numbers_are_those_of_prometheus_client() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (999_999.0, "999999.0"),
            (999_999.5, "999999.5"),
            (1_000_000.0, "1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (33_000_000_000.0, "3.3e+10"),
            (10_000_000.0, "1e+07"),
            (-1_234_567.5, "-1234567.5"),
            (1e15, "1e+15"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e16, "1e+16"),
            (1e300, "1e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(as_prometheus_client(value), expected, "{value:?}");
        }
        assert_eq!(as_prometheus_client(f64::NAN), "NaN");
    }

    #[test]
    fn whole_numbers_stay_exact_in_base_units() {
        let big = Volume::Integer(i128::from(u64::MAX));
        assert_eq!(scaled(big, Scale::One), "18446744073709551615");
        assert_eq!(scaled(big, Scale::Nano), "18446744073.709551615");
        assert_eq!(scaled(Volume::Integer(1_500_000_000), Scale::Nano), "1.5");
        assert_eq!(scaled(Volume::Integer(-1), Scale::Nano), "-0.000000001");
        assert_eq!(scaled(Volume::Integer(1_030), Scale::Milli), "1.03");
        assert_eq!(scaled(Volume::Float(250.0), Scale::Milli), "0.25");
        assert_eq!(scaled(Volume::Integer(3), Scale::Times(1 << 30)), "3221225472");
        assert_eq!(scaled(Volume::Float(0.5), Scale::Times(1 << 20)), "524288");
        assert_eq!(plain(1e-7), "1e-7");
    }
}
