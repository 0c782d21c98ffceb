//! Any bytes as an external message: checked, executed, and the value that there was is still there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testbed_chain::chain::{Chain, ExternalMessage, TESTBED_GLOBAL_ID};

fuzz_target!(|boc: &[u8]| {
    let Ok(message) = ExternalMessage::parse(boc) else { return };
    let mut chain = Chain::genesis(TESTBED_GLOBAL_ID, 1_792_000_000).expect("genesis");
    let _verdict = chain.check(&message);
    chain.submit(message).expect("an empty mempool");
    for _ in 0..3 {
        let record = chain.plan_block(1_792_000_001).expect("a block");
        chain.apply(record).expect("the block's effects");
    }
    let totals = chain.totals();
    let somewhere = chain.balances().expect("balances") + chain.under_way().expect("messages");
    assert_eq!(somewhere + totals.collected + totals.burned, totals.issued);
});
