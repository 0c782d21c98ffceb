//! Kubernetes quantities (`8Gi`, `250m`, `1e3`) as whole numbers.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no Kubernetes quantity between 0 and 2^63, like 8Gi or 16G")]
pub struct QuantityError {
    text: String,
}

/// Digits of a number at most, before and after the point: more than any `int64` has.
const MAX_DIGITS: usize = 19;

/// The whole number that a quantity stands for, fractions rounded up, as the scheduler rounds.
///
/// Negative quantities, and those beyond `i64::MAX`, are errors.
pub fn parse(quantity: &Quantity) -> Result<u64, QuantityError> {
    times(quantity, 1)
}

/// A thousand times what a quantity stands for, fractions rounded up: cores are counted in thousandths.
///
/// Negative quantities, and those of which that is beyond `i64::MAX`, are errors.
pub fn thousandths(quantity: &Quantity) -> Result<u64, QuantityError> {
    times(quantity, 1000)
}

fn times(quantity: &Quantity, factor: u128) -> Result<u64, QuantityError> {
    whole(&quantity.0, factor).ok_or_else(|| QuantityError {
        text: quantity.0.chars().take(64).collect(),
    })
}

fn whole(text: &str, factor: u128) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if integer.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if integer.len() > MAX_DIGITS || fraction.len() > MAX_DIGITS {
        return None;
    }
    // 38 digits stay below 2^127.
    let digits: u128 = format!("0{integer}{fraction}").parse().ok()?;
    let (numerator, denominator) = scale(suffix)?;
    let denominator = denominator.checked_mul(10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let value = digits
        .checked_mul(numerator)?
        .checked_mul(factor)?
        .div_ceil(denominator);
    u64::try_from(value)
        .ok()
        .filter(|value| i64::try_from(*value).is_ok())
}

/// The factor of a suffix, as a fraction.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let binary = |exponent: u32| Some((1_u128 << exponent, 1));
    let decimal = |exponent: u32| Some((10_u128.pow(exponent), 1));
    match suffix {
        "" => decimal(0),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => exponent(suffix),
    }
}

/// `e3`, `E-3`.
fn exponent(suffix: &str) -> Option<(u128, u128)> {
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let factor = 10_u128
        .checked_pow(exponent.unsigned_abs())
        .filter(|_| exponent.unsigned_abs() <= 18)?;
    Some(if exponent < 0 { (1, factor) } else { (factor, 1) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Option<u64> {
        parse(&Quantity(text.into())).ok()
    }

    #[test]
    fn quantities_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("1", 1),
            ("8Gi", 8 << 30),
            ("1.5Gi", 3 << 29),
            ("16G", 16_000_000_000),
            ("1500m", 2),
            ("1e3", 1000),
            ("2E", 2_000_000_000_000_000_000),
            ("0", 0),
            (".5k", 500),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            ".",
            "-1",
            "1.2.3",
            "1Xi",
            "8EiB",
            "9999999999999999999",
            "1e99",
            "1e",
            "٣",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn cores_are_counted_in_thousandths() {
        for (text, expected) in [("500m", 500), ("2", 2000), ("1.5", 1500), ("100u", 1), ("0", 0)] {
            assert_eq!(thousandths(&Quantity(text.into())), Ok(expected), "{text}");
        }
        assert!(thousandths(&Quantity(i64::MAX.to_string())).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = parse(&Quantity(text.clone()));
            let _ = thousandths(&Quantity(text));
        }

        #[test]
        fn plain_integers_are_themselves(number in 0..=i64::MAX.unsigned_abs()) {
            prop_assert_eq!(value(&number.to_string()), Some(number));
        }
    }
}
