//! Bodies of requests, as far as they can be read without a model.
#![no_main]

use cocoon_api::agent::{AttemptRequest, Endpoint, SamplingDefaults};
use gpu_agent::attempts::{Body, Defaults};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<AttemptRequest>(bytes);
    let Ok(body) = serde_json::from_slice(bytes) else { return };
    for endpoint in [Endpoint::Completions, Endpoint::ChatCompletions] {
        let _ = Body::read(endpoint, "model", &body, Defaults { sampling: SamplingDefaults::default(), seed: 0 });
    }
});
