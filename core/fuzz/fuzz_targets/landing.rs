//! The stored results of a job, which whoever may write Secrets can change.

#![no_main]

use cocoon_core::job::landing::{HeadText, PageText, Reading};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: [&str; 5]| {
    let [results, receipts, undelivered, tokens, pages] = texts.map(str::to_owned);
    let head = HeadText {
        page: PageText {
            results,
            receipts,
            undelivered,
            tokens,
        },
        pages,
    };
    if let Ok(mut reading) = Reading::new(Some(&head), &[]) {
        while reading.wanted().is_some() {
            if reading.take(&head.page).is_err() {
                return;
            }
        }
        let rendered = reading.landing().head();
        let again = Reading::new(Some(&rendered), &[]).expect("what is rendered can be read");
        let _ = again.wanted();
    }
});
