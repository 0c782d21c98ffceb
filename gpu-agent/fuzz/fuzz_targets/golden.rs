//! Golden files.
#![no_main]

use gpu_agent::evaluate::Golden;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Golden::parse(bytes);
});
