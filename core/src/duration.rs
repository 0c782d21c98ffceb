//! Durations as the API writes them: Go's `10m`, `1h30m`, `500ms`.

/// The most that a duration may come to: a hundred years, so that sums with Unix times stay far from overflow.
const MAX_SECONDS: u64 = 100 * 366 * 24 * 3600;

/// A Go duration in whole seconds, rounded up. `None` where the text is none, or beyond a hundred years.
pub fn seconds(text: &str) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let units = tail
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(units);
        let factor = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        millis = number
            .parse::<u64>()
            .ok()?
            .checked_mul(factor)?
            .checked_add(millis)?;
        rest = tail;
    }
    let seconds = millis.div_ceil(1_000);
    (seconds <= MAX_SECONDS)
        .then(|| i64::try_from(seconds).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn go_durations_are_read_and_rounded_up() {
        let cases = [
            ("10m", 600),
            ("1h30m", 5_400),
            ("24h", 86_400),
            ("0s", 0),
            ("1ms", 1),
            ("1s1ms", 2),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "m",
            "10",
            "1d",
            "-1s",
            "1.5h",
            " 1s",
            "99999999999999999999h",
            "1000000h",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = seconds(&text);
        }
    }
}
