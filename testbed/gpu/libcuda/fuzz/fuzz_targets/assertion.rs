//! The search for `__assertfail` in a module's text.

#![no_main]

#[path = "../../src/module/assertion/provide.rs"]
mod provide;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (provided, line) = provide::provide(text);
    assert_eq!(line.is_some(), provided != text);
    assert_eq!(provided.matches('\n').count(), text.matches('\n').count());
});
