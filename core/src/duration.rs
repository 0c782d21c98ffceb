//! Durations as the API writes them, like `10m`, `1h30m` or `500ms`.

use k8s_openapi::jiff::fmt::friendly::SpanParser;

/// The most that a duration may come to: a hundred years, so that sums with Unix times stay far from overflow.
const MAX_SECONDS: i64 = 100 * 366 * 24 * 3600;

/// Reads more than the API takes: signs, fractions, spaces, longer names of units.
const PARSER: SpanParser = SpanParser::new();

/// A duration in whole seconds, rounded up. `None` where the text is not what the definitions' pattern takes (numbers
/// of `h`, `m`, `s` and `ms`, in this order), or is beyond a hundred years.
pub fn seconds(text: &str) -> Option<i64> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'h' | b'm' | b's'));
    if !is_plain {
        return None;
    }
    let duration = PARSER.parse_duration(text).ok()?;
    let begun = i64::from(duration.subsec_nanos() > 0);
    let seconds = duration.as_secs().checked_add(begun)?;
    (seconds <= MAX_SECONDS).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use cocoon_api::crd::provider::DURATION_PATTERN;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_and_rounded_up() {
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
            "30m1h",
            "1s1s",
            "1hour",
            "PT1H",
            "01:30:00",
            " 1s",
            "99999999999999999999h",
            "1000000h",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_the_definitions_take_is_read_and_nothing_else(text in "([0-9]{1,4}(h|m|s|ms|d)){0,4}[0-9]{0,1}") {
            let is_taken = !text.is_empty() && regex::Regex::new(DURATION_PATTERN).unwrap().is_match(&text);
            prop_assert_eq!(seconds(&text).is_some(), is_taken, "{}", text);
        }

        #[test]
        fn a_duration_is_the_sum_of_its_parts(h in 0..10_000_u32, m in 0..10_000_u32, s in 0..10_000_u32, ms in 0..10_000_u32) {
            let millis = ((i64::from(h) * 60 + i64::from(m)) * 60 + i64::from(s)) * 1_000 + i64::from(ms);
            let rounded_up = (millis + 999) / 1_000;
            prop_assert_eq!(seconds(&format!("{h}h{m}m{s}s{ms}ms")), Some(rounded_up));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = seconds(&text);
        }
    }
}
