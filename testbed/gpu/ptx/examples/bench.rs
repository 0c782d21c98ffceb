//! How fast the machine runs, with every checker on: warp instructions a second on one host core, as JSON.
//!
//! `cargo run --release -p testbed-ptx --example bench`

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use serde_json::json;
use testbed_ptx::{Capability, Launch, Limits, Memory, Module, run};

const DEVICE: Capability = Capability { major: 9, minor: 0 };
/// Rounds of each mix; the fastest counts.
const ROUNDS: usize = 7;
/// Instructions of a round at least: a third of a second, so that the steps of the clock, some milliseconds, do not
/// count.
const ROUND_INSTRUCTIONS: u64 = 4_000_000;

/// A mix of instructions: a kernel with its launch.
struct Mix {
    name: &'static str,
    text: &'static str,
    kernel: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    buffers: &'static [usize],
    numbers: &'static [u32],
}

const MIXES: [Mix; 4] = [
    Mix {
        name: "gemv_dp4a",
        text: include_str!("../tests/kernels/gemv.sm_61.ptx"),
        kernel: "gemv_q8",
        grid: [64, 1, 1],
        block: [128, 1, 1],
        buffers: &[256 * 4, 256 * 128 * 32, 256 * 128 * 4, 128 * 32, 128 * 8],
        numbers: &[256, 128],
    },
    Mix {
        name: "attention_shared",
        text: include_str!("../tests/kernels/attention.sm_80.ptx"),
        kernel: "attend",
        grid: [8, 1, 1],
        block: [64, 1, 1],
        buffers: &[8 * 256, 8 * 256, 64 * 16 * 2 * 256, 64 * 16 * 2 * 256, 64 * 4, 4],
        numbers: &[8, 2, 64, 0x3e00_0000],
    },
    Mix {
        name: "shared_tile",
        text: include_str!("shared_tile.ptx"),
        kernel: "shared_tile",
        grid: [16, 1, 1],
        block: [128, 1, 1],
        buffers: &[16 * 128 * 4],
        numbers: &[64],
    },
    Mix {
        name: "gemm_tensor",
        text: include_str!("../tests/kernels/gemm.sm_80.ptx"),
        kernel: "gemm_s8",
        grid: [8, 8, 1],
        block: [32, 1, 1],
        buffers: &[128 * 64 * 4, 128 * 256, 64 * 256],
        numbers: &[64, 256],
    },
];

fn measure(mix: &Mix) -> serde_json::Value {
    let module = Module::parse(mix.text, DEVICE).expect("a module");
    let memory = Memory::new(1 << 30);
    let globals = module.place(&memory).expect("room");
    let mut parameters = Vec::new();
    for (i, &bytes) in mix.buffers.iter().enumerate() {
        let address = memory.allocate(bytes as u64).expect("room");
        // The fourth to sixth buffers of the attention kernel are cache, table and lengths: small integers do for all.
        let is_length = mix.kernel == "attend" && i == 5;
        memory
            .fill(
                address,
                &if is_length { 1_000_u32 } else { 0 }.to_le_bytes(),
                bytes as u64 / 4,
            )
            .expect("within");
        parameters.extend_from_slice(&address.to_le_bytes());
    }
    mix.numbers
        .iter()
        .for_each(|number| parameters.extend_from_slice(&number.to_le_bytes()));
    let kernel = module.kernel(mix.kernel).expect("the kernel");
    let (grid, block) = (mix.grid, mix.block);
    let launch = Launch {
        module: &module,
        kernel,
        globals: &globals,
        grid,
        block,
        shared_bytes: 0,
        parameters: &parameters,
        watched: None,
    };
    let round = || {
        let began = processor_seconds();
        let mut instructions = 0;
        while instructions < ROUND_INSTRUCTIONS {
            let counters = run(&launch, &memory, &Limits::of(DEVICE), 1).expect("a run without fault");
            instructions += counters.instructions;
        }
        (instructions, processor_seconds() - began)
    };
    let rate = |&(instructions, seconds): &(u64, f64)| instructions as f64 / seconds;
    let rounds = (0..ROUNDS).map(|_| round());
    let (instructions, seconds) = rounds
        .max_by(|a, b| rate(a).total_cmp(&rate(b)))
        .expect("at least one round");
    json!({
        "mix": mix.name,
        "warp_instructions": instructions,
        "processor_seconds": seconds,
        "warp_instructions_per_second_per_core": rate(&(instructions, seconds)).round(),
    })
}

/// Seconds that this thread has had a processor, which other work on the host does not add to.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells a thread's time");
    let first = text
        .split_whitespace()
        .next()
        .and_then(|first| first.parse::<u64>().ok());
    first.expect("a number first") as f64 / 1e9
}

fn main() {
    let results: Vec<_> = MIXES.iter().map(measure).collect();
    println!("{}", json!({ "cores": 1, "checkers": "on", "results": results }));
}
