//! OpenAI batch JSONL of a `ConfigMap` or Secret.

#![no_main]

use cocoon_api::agent::Endpoint;
use cocoon_core::job::input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for endpoint in [Endpoint::Completions, Endpoint::ChatCompletions] {
        if let Ok(requests) = input::batch(bytes, "input", endpoint) {
            assert_eq!(requests.items.len(), requests.custom_ids.len());
        }
    }
});
