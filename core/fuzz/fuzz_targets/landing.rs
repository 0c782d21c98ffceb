//! The stored results of a job, which whoever may write Secrets can change.

#![no_main]

use cocoon_core::job::landing::{LandedText, Landing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: [&str; 4]| {
    let [results, receipts, undelivered, statements] = texts.map(str::to_owned);
    let text = LandedText {
        results,
        receipts,
        undelivered,
        statements,
    };
    if let Ok(landing) = Landing::parse(&text) {
        let rendered = landing.render();
        let again = Landing::parse(&rendered).expect("what is rendered can be read");
        assert_eq!(again.render(), rendered);
    }
});
