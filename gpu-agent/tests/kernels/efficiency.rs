//! How the kernels use a card, as far as it can be counted: sectors of weights, bank conflicts, and instructions for a byte of
//! weights beside those that a card can issue while its memory delivers the byte.
//!
//! The gates hold in every run of the tests. `./x bench kernels` sets [`FIGURES`] and gets the figures as JSON.

#![expect(clippy::cast_precision_loss, reason = "counts of small launches")]

use gpu_agent::backend::cuda::launch::Shape;
use gpu_agent::backend::cuda::layout::{Format, Layout};
use gpu_agent::weights::quants::TensorType;
use serde_json::{Value, json};
use testbed_ptx::{CARDS, Counters};

use crate::arguments;
use crate::attention::{self, Scene};
use crate::card::{Card, ptx};
use crate::product::{Case, Unit, int, reserve};
use crate::random::Random;

/// Names the file that the figures are written to.
const FIGURES: &str = "KERNEL_FIGURES";
/// Inputs and outputs of the matrices: eight segments, and four groups, which are a tile.
const COLUMNS: usize = 2048;
const OUTPUTS: usize = 128;
/// The least share of the touched sectors that a kernel uses which reads weights.
const SECTORS: f64 = 0.9;
/// Cards whose issue slots are set beside the kernels' instructions.
const ROOFLINES: [&str; 3] = ["RTX 3090", "RTX 4090", "H100"];

/// A product that streams weights.
struct Streamed {
    kind: TensorType,
    unit: Unit,
    rows: usize,
    counters: Counters,
    weight_bytes: usize,
}

impl Streamed {
    fn run(kind: TensorType, unit: Unit, rows: usize) -> Self {
        let card = unit.card();
        let module = card.module(&unit.ptx(Format::of(kind)));
        let case = Case {
            kind,
            rows,
            columns: COLUMNS,
            outputs: OUTPUTS,
            fine: false,
            most_warps: usize::MAX,
        };
        let (.., counters) = case
            .count(unit, &card, &module)
            .unwrap_or_else(|fault| panic!("{kind:?} by {unit:?}: {fault}"));
        Self {
            kind,
            unit,
            rows,
            counters,
            weight_bytes: Layout::of(kind, OUTPUTS, COLUMNS).bytes(),
        }
    }

    fn kernel(&self) -> String {
        match self.unit {
            Unit::Few(sm) => format!("few_{}.sm_{sm}", self.rows),
            Unit::Tensor(sm) => format!("tensor.sm_{sm}"),
            unit => format!("product_{} by {unit:?}", self.rows).to_lowercase(),
        }
    }

    /// Share of the touched sectors that is used. Small tiles read activations by way of the cache, half a sector of a row at a time,
    /// each of them in every group of outputs: those loads are not of weights, and are left out.
    fn sectors(&self) -> f64 {
        let loads = &self.counters.global_loads;
        let halves = match self.unit {
            Unit::Few(_) => self.unit.batch(self.rows).0.rows() * (COLUMNS / 16) * (OUTPUTS / 32),
            _ => 0,
        } as u64;
        (loads.bytes - 16 * halves) as f64 / ((loads.sectors - halves) * 32) as f64
    }

    /// Warps' instructions for a byte of weights.
    fn instructions(&self) -> f64 {
        self.counters.instructions as f64 / self.weight_bytes as f64
    }

    fn figures(&self) -> Value {
        let rooflines: serde_json::Map<String, Value> = CARDS
            .iter()
            .filter(|card| ROOFLINES.contains(&card.name))
            .map(|card| {
                // Four schedulers of a multiprocessor issue one instruction of a warp each a clock.
                let issued = f64::from(card.multiprocessors) * 4.0 * card.gigahertz * 1e9;
                let slots = issued / (card.bandwidth * 1e9);
                let busy = self.counters.blocks.min(u64::from(card.multiprocessors)) as f64;
                let estimate = card.estimate(&self.counters);
                let instructions =
                    estimate.instructions.max(estimate.shared) * busy / f64::from(card.multiprocessors);
                let memory = self.weight_bytes as f64 / (card.bandwidth * 1e3);
                let figures = json!({
                    "issueSlotsPerByte": slots,
                    "shareOfSlots": self.instructions() / slots,
                    "shareOfBandwidth": (memory / instructions).min(1.0),
                });
                (card.name.to_owned(), figures)
            })
            .collect();
        json!({
            "kernel": self.kernel(),
            "weights": format!("{:?}", self.kind),
            "rows": self.rows,
            "sectorsUsed": self.sectors(),
            "bankConflicts": self.counters.shared.conflicts,
            "sharedRequests": self.counters.shared.requests,
            "instructionsPerWeightByte": self.instructions(),
            "rooflines": rooflines,
        })
    }
}

/// What is wrong with a figure, by the gates.
fn gates(streamed: &Streamed) -> Vec<String> {
    let mut broken = Vec::new();
    let name = format!("{} of {:?}", streamed.kernel(), streamed.kind);
    if streamed.sectors() < SECTORS {
        broken.push(format!(
            "{name} uses {:.3} of the sectors it touches",
            streamed.sectors()
        ));
    }
    let shared = &streamed.counters.shared;
    if shared.conflicts > 0 {
        broken.push(format!("{name} has {} bank conflicts", shared.conflicts));
    }
    broken
}

/// Counts of the kernels between products, by name.
fn others() -> Vec<(String, Counters)> {
    let mut all = Vec::new();
    let card = Card::new(61);
    let module = card.module(&ptx(attention::MODULE));
    for group in [2, 4, 8] {
        let scene = |new| Scene {
            heads: 2 * group,
            kv_heads: 2,
            size: 64,
            sequences: vec![(256, new)],
            window: 0,
            cap: 0.0,
        };
        let staged = scene(1).stage(&card);
        scene(1)
            .decode(&card, &module, &staged)
            .unwrap_or_else(|fault| panic!("{fault}"));
        let staged = scene(32).stage(&card);
        scene(32)
            .prefill(&card, &module, &staged)
            .unwrap_or_else(|fault| panic!("{fault}"));
    }
    all.extend(card.counted());
    let card = Card::new(61);
    let module = card.module(&ptx("rows.sm_61"));
    let x = card.upload(&Random::new(1).floats(COLUMNS));
    let faults = card.upload(&[0u32]);
    let limit = f32::INFINITY;
    let to = reserve(&card, COLUMNS / 32, true);
    let arguments = arguments![x, 0u64, x, 1e-5f32, limit, int(COLUMNS), 0u64, to, faults];
    card.run(
        &module,
        "norm_quantise",
        Shape::norm_quantise(1, COLUMNS),
        arguments,
    );
    let arguments = arguments![x, x, 1e-5f32, limit, int(COLUMNS), x, faults];
    card.run(&module, "norm_add", Shape::rows(1), arguments);
    let arguments = arguments![x, x, int(COLUMNS), int(COLUMNS), 0i32, to, faults];
    card.run(&module, "gate_quantise", Shape::gate(1, COLUMNS), arguments);
    all.extend(card.counted());
    all
}

#[test]
fn kernels_keep_within_the_gates_of_efficiency() {
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
    let others = others();
    let figures: Vec<Value> = streamed.iter().map(Streamed::figures).collect();
    let between: Vec<Value> = others
        .iter()
        .map(|(kernel, counters)| {
            json!({
                "kernel": kernel,
                "bankConflicts": counters.shared.conflicts,
                "sharedRequests": counters.shared.requests,
                "sectorsUsed": counters.global_loads.bytes as f64 / (counters.global_loads.sectors * 32) as f64,
                "instructions": counters.instructions,
            })
        })
        .collect();
    if let Some(path) = std::env::var_os(FIGURES) {
        let text = serde_json::to_vec_pretty(&json!({"streaming": figures, "between": between}))
            .expect("plain data");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let mut broken: Vec<String> = streamed.iter().flat_map(gates).collect();
    for (kernel, counters) in &others {
        if counters.shared.conflicts > 0 {
            broken.push(format!(
                "{kernel} has {} bank conflicts",
                counters.shared.conflicts
            ));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
