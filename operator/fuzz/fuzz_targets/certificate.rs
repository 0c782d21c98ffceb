//! Whatever is shown as a certificate never panics the operator.
#![no_main]

use cocoon_operator::tls::valid_until;
use k8s_openapi::jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|certificate: &[u8]| {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    assert!(valid_until(certificate, now).is_none_or(|until| until > now));
});
