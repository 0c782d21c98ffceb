//! Any bytes as the body of a JSON-RPC request: always an envelope.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use testbed_chain::chain::TESTBED_GLOBAL_ID;
use testbed_chain::network::Network;
use testbed_chain::server::answer_json_rpc;

static NETWORK: LazyLock<Network> = LazyLock::new(|| Network::open(TESTBED_GLOBAL_ID, None).expect("a new network"));

fuzz_target!(|body: &[u8]| {
    let (status, answer) = answer_json_rpc(&NETWORK, body);
    assert_eq!(status.is_success(), answer["ok"] == true);
});
