//! Amounts and durations as people write them.

use std::fmt::Write as _;

use cocoon_api::NanoTon;
use cocoon_ton::voucher::NO_EXPIRY;
use jiff::{SpanRelativeTo, Timestamp, fmt::friendly::SpanParser};

/// The most that a duration may come to: what still fits the 32-bit times of the contract for decades.
const MAX_SECONDS: u32 = 20 * 366 * 86_400;

/// Decimal TON, more than nothing: `2`, `0.05`.
pub fn ton(text: &str) -> Result<NanoTon, String> {
    match NanoTon::parse_ton(text) {
        None => {
            Err("must be decimal TON with at most nine digits after the point, such as 1 or 0.05".to_owned())
        }
        Some(NanoTon::ZERO) => Err("must be more than nothing".to_owned()),
        Some(amount) => Ok(amount),
    }
}

/// Reads more than is taken here: signs, fractions, spaces, longer names of units.
const PARSER: SpanParser = SpanParser::new();

/// Seconds of a duration of days, hours, minutes and seconds, in this order: `30d`, `1h30m`.
pub fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || "must be a duration such as 30d, 12h or 1h30m".to_owned();
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'd' | b'h' | b'm' | b's'));
    if !is_plain {
        return Err(wrong());
    }
    let span = PARSER.parse_span(text).map_err(|_| wrong())?;
    // A day of a voucher is 24 hours, whatever a place's clocks do.
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    if duration.subsec_nanos() != 0 {
        return Err(wrong());
    }
    match u32::try_from(duration.as_secs()) {
        Ok(seconds @ 1..=MAX_SECONDS) => Ok(seconds),
        _ => Err("must be between 1s and 20 years".to_owned()),
    }
}

/// A duration for people, in its two largest units: `1h30m`, `29d23h`.
pub fn span(seconds: i64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = seconds.max(0);
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let mut rest = seconds;
    let mut text = String::new();
    for (size, unit) in units.iter().skip(first).take(2) {
        let count = rest / size;
        rest %= size;
        if count > 0 || text.is_empty() {
            write!(text, "{count}{unit}").expect("a String takes all text");
        }
    }
    text
}

/// A Unix time for people, in UTC.
pub fn time(unix: i64) -> String {
    Timestamp::from_second(unix).map_or_else(|_| unix.to_string(), |time| time.to_string())
}

/// When a voucher ends.
pub fn voucher_end(valid_until: u32) -> String {
    match valid_until {
        NO_EXPIRY => "the channel is closed".to_owned(),
        end => time(end.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_take_days_and_clock_units() {
        for (text, expected) in [
            ("30d", 2_592_000),
            ("1h", 3_600),
            ("1h30m", 5_400),
            ("90s", 90),
            ("1d1h1m1s", 90_061),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "0s",
            "1",
            "d",
            "1w",
            "-1h",
            "1.5h",
            "1m1h",
            "90ms",
            "1 h",
            "1hour",
            "99999999999999999999d",
            "8000d",
            "1µ",
        ] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_amount_is_positive_decimal_ton() {
        assert_eq!(
            ton("0.05"),
            NanoTon::from_nano(50_000_000).map_err(|error| error.to_string())
        );
        assert_eq!(ton(".5").map(NanoTon::nano), Ok(500_000_000));
        for text in [
            "0",
            "0.0",
            ".0",
            ".",
            "-1",
            "1e9",
            "",
            "0.0000000001",
            "1,5",
            "1.5.1",
        ] {
            assert!(ton(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_shows_two_units() {
        let cases = [
            (0, "0s"),
            (-5, "0s"),
            (59, "59s"),
            (60, "1m"),
            (5_400, "1h30m"),
            (90_061, "1d1h"),
            (86_400, "1d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(span(seconds), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (ton(&text), seconds(&text));
        }
    }
}
