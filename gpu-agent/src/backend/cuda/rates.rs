//! What a card was measured to do, and which unit computes a product fastest by that.
//!
//! The choice asks for rates alone, never for a card's name: `sm_86` says nothing about a mining card, whose `dp4a` may
//! run at a thirtieth of the usual rate and whose tensor cores at a two hundredth. All units give equal bits.

use serde::Serialize;

use super::launch::{Batch, FEW_ROWS, TENSOR_ROWS, TILE_ROWS};
use super::modules::{Dot, Tensor};

/// Columns of a block of weights, whose sum is scaled once.
const BLOCK: f64 = 32.0;
/// Bytes of a block of weights of 4 bits with their scale, the most common ones.
const BLOCK_BYTES: f64 = 18.0;
/// Products of one dot.
const DOT: f64 = 4.0;
/// What the operands of a block's dots cost beside its scaling: two loads of 16 bytes for each row of activations,
/// where scaling is four instructions (`block_dot` in `kernels/product.cuh`). Tiles share theirs among eight rows.
const OPERANDS: f64 = 0.5;
/// What it costs a block of `few` to take its weights apart, beside its scaling.
const UNPACKED: f64 = 4.0;

/// What a card does in a second, as [`super::probe`] measured it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Dots of four products of signed bytes by `dp4a`.
    pub dp4a: f64,
    /// The same by `dp2a`, with what unpacks its operands.
    pub dp2a: f64,
    /// The same by multiplication and addition, with what unpacks their operands.
    pub mad: f64,
    /// Products of signed bytes on integer tensor cores; 0 without any.
    pub tensor: f64,
    /// Floats' share of a product: a conversion, two multiplications and an addition.
    pub scale: f64,
    /// Bytes of the card's memory, read or written.
    pub memory: f64,
    /// Bytes from the host.
    pub link: f64,
}

/// What computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Integer dots, lane by lane.
    Dot(Dot),
    /// Small tiles on tensor cores, segment beside segment.
    Few(Tensor),
    /// Large tiles on tensor cores.
    Tensor(Tensor),
}

/// The units of a card, with their rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Units {
    rates: Rates,
    tensor: Option<Tensor>,
}

impl Units {
    /// Of a card of this compute capability.
    pub fn new(rates: Rates, capability: (i32, i32)) -> Self {
        Self {
            rates,
            tensor: Tensor::of(capability),
        }
    }

    /// These alone: tensor cores wherever there are rows enough, and one kind of dots elsewhere.
    pub fn only(dot: Dot, tensor: Option<Tensor>) -> Self {
        let rate = |of: Dot| if of == dot { 1.0 } else { 0.0 };
        Self {
            rates: Rates {
                dp4a: rate(Dot::Dp4a),
                dp2a: rate(Dot::Dp2a),
                mad: rate(Dot::Mad),
                tensor: f64::INFINITY,
                scale: f64::INFINITY,
                memory: 0.0,
                link: 0.0,
            },
            tensor,
        }
    }

    /// The rates.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// The fastest unit for a product of so many rows.
    pub fn product(&self, rows: usize) -> Unit {
        let dot = Dot::ALL
            .into_iter()
            .min_by(|a, b| self.dot_seconds(*a, rows).total_cmp(&self.dot_seconds(*b, rows)))
            .unwrap_or(Dot::Dp4a);
        let (tiles, seconds) = match self.tensor {
            Some(cores) if rows >= TENSOR_ROWS => (Unit::Tensor(cores), self.tensor_seconds(rows)),
            Some(cores) if rows >= FEW_ROWS => (Unit::Few(cores), self.few_seconds(rows)),
            _ => return Unit::Dot(dot),
        };
        if seconds < self.dot_seconds(dot, rows) {
            tiles
        } else {
            Unit::Dot(dot)
        }
    }

    /// Seconds that the whole card takes for one block of one row of weights with so many rows of activations.
    pub fn seconds(&self, rows: usize) -> f64 {
        match self.product(rows) {
            Unit::Dot(dot) => self.dot_seconds(dot, rows),
            Unit::Few(_) => self.few_seconds(rows),
            Unit::Tensor(_) => self.tensor_seconds(rows),
        }
    }

    /// As [`Units::seconds`], or what it takes to read that block once, where that is more: with few rows the memory
    /// sets the pace.
    pub fn read_seconds(&self, rows: usize) -> f64 {
        let read = if self.rates.memory > 0.0 {
            BLOCK_BYTES / self.rates.memory
        } else {
            0.0
        };
        self.seconds(rows).max(read)
    }

    fn dot_seconds(&self, dot: Dot, rows: usize) -> f64 {
        let rate = match dot {
            Dot::Dp4a => self.rates.dp4a,
            Dot::Dp2a => self.rates.dp2a,
            Dot::Mad => self.rates.mad,
        };
        let batch = Batch::of(rows, dot.has_all_batches()).rows();
        times(
            rows.next_multiple_of(batch),
            BLOCK / DOT / rate + (1.0 + OPERANDS) / self.rates.scale,
        )
    }

    fn few_seconds(&self, rows: usize) -> f64 {
        let each = BLOCK / self.rates.tensor + 1.0 / self.rates.scale;
        let batch = Batch::few(rows).rows();
        times(rows.next_multiple_of(batch), each) + times(rows.div_ceil(batch), UNPACKED / self.rates.scale)
    }

    fn tensor_seconds(&self, rows: usize) -> f64 {
        times(
            rows.next_multiple_of(TILE_ROWS),
            BLOCK / self.rates.tensor + 1.0 / self.rates.scale,
        )
    }
}

/// Rows that are computed, those without a result among them, times the seconds of one.
#[expect(clippy::cast_precision_loss, reason = "rows are few")]
fn times(rows: usize, seconds: f64) -> f64 {
    rows as f64 * seconds
}

#[cfg(test)]
mod tests;
