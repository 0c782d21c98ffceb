//! `TESTBED_CUDA_DEVICES` and `CUDA_VISIBLE_DEVICES`, as anyone may set them.

#![no_main]

#[path = "../../src/config/cards.rs"]
mod cards;
#[path = "../../src/config/presets.rs"]
mod presets;
#[path = "../../src/config/visible.rs"]
mod visible;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str)| {
    if let Ok(all) = cards::parse(texts.0) {
        assert!(all.len() <= 64);
        let count = all.len();
        assert!(visible::filter(all, Some(texts.1)).len() <= count);
    }
});
