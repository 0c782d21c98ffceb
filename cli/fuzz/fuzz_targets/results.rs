//! Results and receipts, as anyone who may write a job's Secret can make them.

#![no_main]

#[path = "../../src/results/records.rs"]
mod records;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str)| {
    if let Ok(delivered) = records::Delivered::parse(texts.0, texts.1) {
        let shown = delivered.text(true);
        assert!(shown.chars().all(|letter| !letter.is_control() || matches!(letter, '\n' | '\t')));
    }
});
