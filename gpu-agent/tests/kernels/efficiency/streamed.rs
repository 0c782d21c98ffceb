//! Products, which stream weights.

#![expect(clippy::cast_precision_loss, reason = "counts of small launches")]

use gpu_agent::backend::cuda::layout::{Format, Layout};
use gpu_agent::weights::quants::TensorType;
use serde_json::{Value, json};

use super::{SECTOR, figures, reach};
use crate::card::{Launched, assert_bits};
use crate::product::{Case, Unit};

/// Inputs and outputs of the matrices: eight segments, and four groups, which are a tile.
const COLUMNS: usize = 2048;
const OUTPUTS: usize = 128;
/// Tenths of the touched sectors of weights that lanes use, at least.
const SECTOR_TENTHS: u64 = 9;
/// Cards of miners, on which a product of one row by `dp4a` is to reach the memory's full bandwidth.
const MINERS: usize = 2;

/// A product, launched and counted.
pub struct Streamed {
    pub kind: TensorType,
    pub unit: Unit,
    pub rows: usize,
    launched: Launched,
    kernel: String,
    weight_bytes: u64,
}

impl Streamed {
    /// Computes a product, which must have the bits of its twin.
    pub fn run(kind: TensorType, unit: Unit, rows: usize) -> Self {
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
        let what = format!("{rows} rows of {kind:?} by {unit:?}");
        let (got, expected) = case
            .run(unit, &card, &module)
            .unwrap_or_else(|fault| panic!("{what}: {fault}"));
        assert_bits(&got, &expected, &what);
        let (kernel, launched) = card.launched().into_iter().next().expect("one kernel");
        Self {
            kind,
            unit,
            rows,
            launched,
            kernel,
            weight_bytes: Layout::of(kind, OUTPUTS, COLUMNS).bytes() as u64,
        }
    }

    /// Instructions of a warp for a byte of weights.
    pub fn instructions(&self) -> f64 {
        self.launched.counters.instructions as f64 / self.weight_bytes as f64
    }

    /// The share of the bandwidth within reach, of each card.
    pub fn reach(&self) -> [f64; 3] {
        reach(&self.launched.counters, self.weight_bytes)
    }

    /// All figures.
    pub fn figures(&self) -> Value {
        let watched = &self.launched.counters.watched_loads;
        let mut all = figures(
            &self.unit.module(Format::of(self.kind)),
            &self.kernel,
            &self.launched,
            self.weight_bytes,
        );
        let more = json!({
            "weights": format!("{:?}", self.kind),
            "rows": self.rows,
            // Of each request, bytes that several lanes read counted once.
            "sectorsUsed": watched.bytes as f64 / (watched.sectors * SECTOR) as f64,
            // How often each byte of weights is asked for; from the second time on, a cache has it.
            "weightReads": (watched.sectors * SECTOR) as f64 / self.weight_bytes as f64,
            "instructionsPerWeightByte": self.instructions(),
        });
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
        all
    }

    /// What breaks a gate.
    pub fn beyond_gates(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let name = format!("{} of {:?} by {:?}", self.kernel, self.kind, self.unit);
        let watched = &self.launched.counters.watched_loads;
        if watched.bytes * 10 < watched.sectors * SECTOR * SECTOR_TENTHS {
            broken.push(format!(
                "{name} uses {} bytes of {} sectors of weights",
                watched.bytes, watched.sectors
            ));
        }
        let shared = &self.launched.counters.shared;
        if shared.conflicts > 0 {
            broken.push(format!("{name} has {} bank conflicts", shared.conflicts));
        }
        let is_limited = self.reach()[..MINERS].iter().any(|share| *share < 1.0);
        if self.rows == 1 && self.unit == Unit::Dp4a && is_limited {
            broken.push(format!(
                "{name}: {:.3} instructions a byte of weights leave less than the bandwidth of an RTX 3090 or 4090",
                self.instructions()
            ));
        }
        broken
    }
}
