//! An endpoint's answers, as the results of every method.

#![no_main]

use cocoon_ton::Address;
use cocoon_ton::client::read_as_every_answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    read_as_every_answer(body, &Address { workchain: 0, account: [0; 32] });
});
