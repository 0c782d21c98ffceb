//! How the kernels use a card, as far as it can be counted: sectors of weights, bank conflicts, and instructions for a
//! byte of memory beside those that a card can issue while its memory delivers the byte.
//!
//! The gates hold in every run of the tests, and `kernels/README.md` says what was counted. `./x bench kernels` sets
//! [`FIGURES`] and gets the figures as JSON.

mod between;
mod streamed;
mod tables;

use serde_json::{Value, json};
use testbed_ptx::{Card, Counters};

use between::Between;
use gpu_agent::weights::quants::TensorType;
use streamed::Streamed;

use crate::card::Launched;
use crate::product::Unit;

/// Names the file that the figures are written to.
const FIGURES: &str = "KERNEL_FIGURES";
/// Cards whose memory is set beside the kernels' instructions.
const ROOFLINES: [&str; 3] = ["RTX 3090", "RTX 4090", "H100"];
/// Bytes of a sector of memory.
const SECTOR: u64 = 32;

/// The share of a card's bandwidth that instructions and shared memory leave within reach, for work that moves `bytes`.
#[expect(clippy::cast_precision_loss, reason = "counts of small launches")]
fn reach(counters: &Counters, bytes: u64) -> [f64; ROOFLINES.len()] {
    ROOFLINES.map(|name| {
        let card = Card::named(name).expect("a card of the table");
        // A small launch leaves multiprocessors idle; the share is that of one which does not.
        let busy = counters.blocks.min(u64::from(card.multiprocessors)) as f64;
        let estimate = card.estimate(counters);
        let instructions =
            estimate.instructions.max(estimate.shared) * busy / f64::from(card.multiprocessors);
        let memory = bytes as f64 / (card.bandwidth * 1e3);
        (memory / instructions).min(1.0)
    })
}

/// Warps' instructions that each card can issue while its memory delivers a byte: four schedulers of a multiprocessor
/// issue one a clock.
fn slots() -> [f64; ROOFLINES.len()] {
    ROOFLINES.map(|name| {
        let card = Card::named(name).expect("a card of the table");
        f64::from(card.multiprocessors) * 4.0 * card.gigahertz / card.bandwidth
    })
}

/// What every kernel has figures of.
fn figures(module: &str, kernel: &str, launched: &Launched, bytes: u64) -> Value {
    let Launched { counters, shape } = launched;
    let reached: serde_json::Map<String, Value> = ROOFLINES
        .iter()
        .zip(reach(counters, bytes))
        .map(|(name, share)| ((*name).to_owned(), json!(share)))
        .collect();
    json!({
        "module": module,
        "kernel": kernel,
        "threads": shape.block.iter().product::<usize>(),
        "dynamicSharedBytes": shape.shared_bytes,
        "bytes": bytes,
        "instructions": counters.instructions,
        "bankConflicts": counters.shared.conflicts,
        "sharedRequests": counters.shared.requests,
        "shareOfBandwidth": reached,
    })
}

fn write(streamed: &[Streamed], between: &[Between]) {
    let Some(path) = std::env::var_os(FIGURES) else {
        return;
    };
    let slots: serde_json::Map<String, Value> = ROOFLINES
        .iter()
        .zip(slots())
        .map(|(name, slots)| ((*name).to_owned(), json!(slots)))
        .collect();
    let text = serde_json::to_vec_pretty(&json!({
        "issueSlotsPerByte": slots,
        "streaming": streamed.iter().map(Streamed::figures).collect::<Vec<_>>(),
        "between": between.iter().map(Between::figures).collect::<Vec<_>>(),
    }))
    .expect("plain data");
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[test]
fn kernels_keep_within_the_gates_of_efficiency_and_the_readme_says_what_was_counted() {
    let mut streamed = Vec::new();
    for kind in TensorType::ALL {
        for rows in [1, 2, 4, 8] {
            streamed.push(Streamed::run(kind, Unit::Dp4a, rows));
        }
        for unit in [Unit::Dp2a, Unit::Mad] {
            streamed.push(Streamed::run(kind, unit, 1));
        }
        for sm in [75, 80] {
            for rows in [8, 16] {
                streamed.push(Streamed::run(kind, Unit::Few(sm), rows));
            }
            streamed.push(Streamed::run(kind, Unit::Tensor(sm), 64));
        }
    }
    let between = Between::run_all();
    write(&streamed, &between);
    let broken: Vec<String> = streamed
        .iter()
        .flat_map(Streamed::beyond_gates)
        .chain(between.iter().filter_map(Between::beyond_gates))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    tables::compare(&streamed, &between);
}
