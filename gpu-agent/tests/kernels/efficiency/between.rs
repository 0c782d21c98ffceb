//! What stands between products: attention, norms, gates, embedding, and the choice of a token.

#![expect(clippy::cast_precision_loss, reason = "counts of small launches")]

use gpu_agent::backend::cuda::launch::Shape;
use gpu_agent::weights::quants::TensorType;
use serde_json::{Value, json};

use super::{SECTOR, figures, reach};
use crate::attention::{self, Rotated, Scene};
use crate::card::{Card, Launched, ptx};
use crate::product::{int, reserve};
use crate::random::Random;
use crate::{arguments, rows, sampling};

/// Values of a row.
const WIDTH: usize = 2048;
/// Tokens to choose from: as many as SmolLM2 has.
const VOCABULARY: usize = 49_152;

/// The one kernel with bank conflicts, one pass more a request at most; its source derives them.
const ROTATES: &str = "rotate_store";

/// A kernel, launched and counted.
pub struct Between {
    pub name: String,
    module: &'static str,
    kernel: String,
    launched: Launched,
}

impl Between {
    /// Launches all of them.
    pub fn run_all() -> Vec<Self> {
        [attend(), rotate(), rows_between(), embed(), choose()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn of(card: &Card, module: &'static str, what: &str) -> Vec<Self> {
        let one = |(kernel, launched): (String, Launched)| Self {
            name: format!("`{kernel}`{what}"),
            module,
            kernel,
            launched,
        };
        card.launched().into_iter().map(one).collect()
    }

    /// Bytes that are moved: whole sectors, loaded and stored.
    fn bytes(&self) -> u64 {
        let counters = &self.launched.counters;
        (counters.global_loads.sectors + counters.global_stores.sectors) * SECTOR
    }

    /// Instructions of a warp for a byte that is moved.
    pub fn instructions(&self) -> f64 {
        self.launched.counters.instructions as f64 / self.bytes() as f64
    }

    /// The share of the bandwidth within reach, of each card.
    pub fn reach(&self) -> [f64; 3] {
        reach(&self.launched.counters, self.bytes())
    }

    /// All figures.
    pub fn figures(&self) -> Value {
        let mut all = figures(self.module, &self.kernel, &self.launched, self.bytes());
        if let Value::Object(all) = &mut all {
            all.insert("instructionsPerByte".to_owned(), json!(self.instructions()));
        }
        all
    }

    /// What breaks a gate.
    pub fn beyond_gates(&self) -> Option<String> {
        let shared = &self.launched.counters.shared;
        let allowed = if self.kernel == ROTATES {
            shared.requests
        } else {
            0
        };
        let conflicts = shared.conflicts;
        (conflicts > allowed).then(|| format!("{} has {conflicts} bank conflicts", self.name))
    }
}

fn attend() -> Vec<Between> {
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
    Between::of(&card, attention::MODULE, "")
}

fn rotate() -> Vec<Between> {
    let heads = Rotated {
        size: 64,
        turned: 64,
        pairs: 0,
        norm: false,
    };
    let card = attention::rotate(&heads, &ptx(attention::MODULE));
    Between::of(&card, attention::MODULE, "")
}

fn rows_between() -> Vec<Between> {
    let card = Card::new(61);
    let module = card.module(&ptx(rows::MODULE));
    let x = card.upload(&Random::new(1).floats(WIDTH));
    let faults = card.upload(&[0u32]);
    let limit = f32::INFINITY;
    let to = reserve(&card, WIDTH / 32, true);
    let arguments = arguments![x, 0u64, x, 1e-5f32, limit, int(WIDTH), 0u64, to, faults];
    card.run(
        &module,
        "norm_quantise",
        Shape::norm_quantise(1, WIDTH),
        arguments,
    );
    let arguments = arguments![x, x, 1e-5f32, limit, int(WIDTH), x, faults];
    card.run(&module, "norm_add", Shape::rows(1), arguments);
    let arguments = arguments![x, x, int(WIDTH), int(WIDTH), 0i32, to, faults];
    card.run(&module, "gate_quantise", Shape::gate(1, WIDTH), arguments);
    Between::of(&card, rows::MODULE, "")
}

fn embed() -> Vec<Between> {
    let card = Card::new(61);
    for kind in TensorType::ALL {
        rows::embed(&card, kind, WIDTH);
    }
    Between::of(&card, rows::EMBED_MODULE, "")
}

fn choose() -> Vec<Between> {
    [(false, ", the likeliest"), (true, ", a draw")]
        .into_iter()
        .flat_map(|(draws, what)| {
            let card = Card::new(61);
            sampling::choose(&card, VOCABULARY, draws);
            Between::of(&card, sampling::MODULE, what)
        })
        .collect()
}
