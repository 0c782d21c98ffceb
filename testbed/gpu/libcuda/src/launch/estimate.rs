//! What a card would take for a launch, as far as published figures tell.

use testbed_ptx::{CARDS, Counters, Estimate};

use crate::config::cards::Card;
use crate::config::presets;

/// The estimate for a card; none if its preset has no cost table. What was configured otherwise than the preset has it
/// takes the place of the table's figure.
pub fn of(card: &Card, counters: &Counters) -> Option<Estimate> {
    let key = |name: &str| name.to_ascii_lowercase().replace(' ', "-");
    let mut table = CARDS
        .iter()
        .find(|table| key(table.name) == card.preset)
        .copied()?;
    let preset = presets::find(card.preset)?;
    if card.sms != preset.sms {
        table.multiprocessors = card.sms;
    }
    if card.clock_mhz != preset.clock_mhz {
        table.gigahertz = f64::from(card.clock_mhz) / 1_000.0;
    }
    if (card.memory_mhz, card.bus_bits) != (preset.memory_mhz, preset.bus_bits) {
        table.bandwidth = card.bandwidth();
    }
    Some(table.estimate(counters))
}

#[cfg(test)]
mod tests {
    use testbed_ptx::{Classes, Counters};

    use crate::config::cards::parse;
    use crate::config::presets::PRESETS;

    #[test]
    fn every_preset_has_an_estimate_that_says_it_is_one() {
        for preset in PRESETS {
            let card = &parse(preset.key).expect("a preset")[0];
            assert!(
                super::of(card, &Counters::default())
                    .expect("a table")
                    .is_estimate,
                "{}",
                preset.key
            );
        }
    }

    #[test]
    fn half_the_multiprocessors_take_twice_as_long() {
        let classes = Classes {
            single: 1 << 20,
            ..Classes::default()
        };
        let counters = Counters {
            blocks: 1_000,
            instructions: 1 << 20,
            classes,
            ..Counters::default()
        };
        let time = |text| {
            super::of(&parse(text).expect("valid")[0], &counters)
                .expect("a table")
                .microseconds
        };
        let ratio = time("rtx-3090:sms=41") / time("rtx-3090");
        assert!((ratio - 2.0).abs() < 1e-9, "{ratio}");
    }
}
