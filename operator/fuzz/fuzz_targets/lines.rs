//! An agent's stream of results never panics the operator, and no error repeats it.
#![no_main]

use cocoon_operator::dispatch::Lines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|chunks: Vec<&[u8]>| {
    let mut lines = Lines::new(1 << 12);
    for chunk in chunks {
        lines.push(chunk);
        while let Ok(Some(_)) = lines.next() {}
    }
});
