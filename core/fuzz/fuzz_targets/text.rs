//! Text of specifications and labels: quantities, durations, compute capabilities.

#![no_main]

use cocoon_core::{
    duration,
    inventory::{labels::ComputeCapability, quantity},
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(value) = quantity::parse(&Quantity(text.into())) {
        assert!(i64::try_from(value).is_ok());
    }
    if let Some(seconds) = duration::seconds(text) {
        assert!(seconds >= 0);
    }
    if let Ok(capability) = text.parse::<ComputeCapability>() {
        assert_eq!(capability.to_string().parse(), Ok(capability));
    }
});
