//! `CUDA_VISIBLE_DEVICES`, as the CUDA C++ Programming Guide ("CUDA Environment Variables") has it.
//!
//! A sequence of indexes or of UUIDs with commas between them. Only the cards that are named are visible, in the order
//! in which they are named. If one entry is invalid, only those before it are visible. A UUID may be cut short as long
//! as it names one card. Naming a card twice makes no card visible.

use std::fmt::Write;

use super::cards::Card;

/// The visible cards; all of them if the variable is not set.
pub fn filter(all: Vec<Card>, wanted: Option<&str>) -> Vec<Card> {
    let Some(wanted) = wanted else { return all };
    let mut places = Vec::new();
    for entry in wanted.split(',') {
        let Some(place) = place(&all, entry.trim()) else {
            break;
        };
        if places.contains(&place) {
            return Vec::new();
        }
        places.push(place);
    }
    places.into_iter().map(|place| all[place].clone()).collect()
}

fn place(all: &[Card], entry: &str) -> Option<usize> {
    if let Some(start) = entry.strip_prefix("GPU-") {
        let start = start.to_ascii_lowercase();
        let mut matching = (0..all.len()).filter(|place| dashed(all[*place].uuid).starts_with(&start));
        return matching
            .next()
            .filter(|_| !start.is_empty() && matching.next().is_none());
    }
    // The driver reads an index as strtol does: leading digits count.
    let digits = entry
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(entry.len());
    entry[..digits].parse().ok().filter(|place| *place < all.len())
}

/// A UUID as `nvidia-smi -L` prints it, without `GPU-`.
pub fn dashed(uuid: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in uuid.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("a string takes all that is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{dashed, filter};
    use crate::config::cards::{Card, parse};

    fn cards() -> Vec<Card> {
        parse("rtx-3090,rtx-4090,h100").expect("presets")
    }

    fn seen(wanted: Option<&str>) -> Vec<&'static str> {
        filter(cards(), wanted)
            .into_iter()
            .map(|card| card.preset)
            .collect()
    }

    #[test]
    fn order_follows_the_variable_and_the_first_invalid_entry_ends_it() {
        assert_eq!(seen(None), ["rtx-3090", "rtx-4090", "h100"]);
        assert_eq!(seen(Some("2,0")), ["h100", "rtx-3090"]);
        assert_eq!(seen(Some("1,-1,0")), ["rtx-4090"]);
        assert_eq!(seen(Some("1,3,0")), ["rtx-4090"]);
        assert_eq!(seen(Some("NoDevFiles")), [""; 0]);
        assert_eq!(seen(Some("")), [""; 0]);
        assert_eq!(seen(Some("0,0")), [""; 0]);
    }

    #[test]
    fn uuids_may_be_cut_short_while_they_name_one_card() {
        let uuid = dashed(cards()[2].uuid);
        assert_eq!(seen(Some(&format!("GPU-{uuid}"))), ["h100"]);
        assert_eq!(seen(Some(&format!("GPU-{},0", &uuid[..8]))), ["h100", "rtx-3090"]);
        assert_eq!(seen(Some("GPU-")), [""; 0]);
        assert_eq!(seen(Some("GPU-ffffffffffff")), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_text_panics_the_filter(text in "\\PC{0,40}") {
            let _ = filter(cards(), Some(&text));
        }
    }
}
