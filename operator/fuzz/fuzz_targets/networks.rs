//! The networks file never panics the operator, whatever it holds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = cocoon_operator::chain::parse(text);
});
