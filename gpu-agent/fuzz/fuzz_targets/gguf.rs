//! Headers of model files.
#![no_main]

use gpu_agent::weights::gguf::Header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Header::read(bytes, bytes.len() as u64);
});
