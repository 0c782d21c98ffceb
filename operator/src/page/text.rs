//! Figures and words as they are shown.

use cocoon_api::NanoTon;
use k8s_openapi::jiff::{Timestamp, tz::TimeZone};

/// Longest text of anybody that is shown: two lines on a screen, five on a phone. The objects have the rest.
pub(super) const MAX_CHARS: usize = 280;

/// What somebody else wrote, fit to stand in a line: cut, and without characters that are not seen or turn the
/// direction of what follows. That it is no markup is the templates' business.
pub(super) fn plain(text: &str) -> String {
    let mut letters = text
        .chars()
        .map(|letter| if is_seen(letter) { letter } else { '\u{fffd}' });
    let mut shown: String = letters.by_ref().take(MAX_CHARS).collect();
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Neither a control character nor one of Unicode's marks for the direction of text, for invisible operators and for
/// tags.
fn is_seen(letter: char) -> bool {
    let is_mark = matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    );
    !letter.is_control() && !is_mark
}

/// TON, exact to the nanoTON, with thousands apart: `1 234.5`.
pub(super) fn ton(amount: NanoTon) -> String {
    let text = amount.to_ton_string();
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(whole, fraction)| (whole, Some(fraction)));
    let whole = thousands(whole);
    fraction.map_or(whole.clone(), |fraction| format!("{whole}.{fraction}"))
}

/// TON in two parts: down to the milliTON, and what follows, where there is anything. Together they are exact.
pub(super) fn ton_parts(amount: NanoTon) -> (String, String) {
    let mut whole = ton(amount);
    let point = whole.find('.').unwrap_or(whole.len());
    let rest = whole.split_off(whole.len().min(point + 1 + 3));
    (whole, rest)
}

/// TON with at least so many digits after the point, so that a column of them has its points below each other.
pub(super) fn ton_to(amount: NanoTon, digits: usize) -> String {
    let text = ton(amount);
    let has = fraction_digits(amount);
    let point = if has == 0 && digits > 0 { "." } else { "" };
    format!("{text}{point}{}", "0".repeat(digits.saturating_sub(has)))
}

/// Digits after the point that an amount needs.
pub(super) fn fraction_digits(amount: NanoTon) -> usize {
    let text = amount.to_ton_string();
    text.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

/// A number with thousands apart.
pub(super) fn count(number: impl ToString + Copy) -> String {
    thousands(&number.to_string())
}

/// Groups of three digits, with a narrow space that does not break between them.
fn thousands(digits: &str) -> String {
    let mut shown = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// How long ago, in one unit: `45 s`, `12 min`, `5 h`, `3 d`.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `2026-11-26 12:30 UTC`.
pub(super) fn moment(at: Timestamp) -> String {
    let at = TimeZone::UTC.to_datetime(at);
    format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute())
}
