//! Results, receipts and tokens, as anyone who may write a page of a job's results can make them.

#![no_main]

#[path = "../../src/results/records.rs"]
mod records;

use cocoon_core::job::landing::PageText;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: [&str; 4]| {
    let [results, receipts, undelivered, tokens] = texts.map(str::to_owned);
    let text = PageText {
        results,
        receipts,
        undelivered,
        tokens,
    };
    if let Ok(delivered) = records::Delivered::parse(&text) {
        let shown = delivered.text(true);
        assert!(shown.chars().all(|letter| !letter.is_control() || matches!(letter, '\n' | '\t')));
    }
});
