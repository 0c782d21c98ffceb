//! How long a card would take for what was counted: an estimate, from the rates of its instructions and its bandwidth.
//!
//! Three things take time on a card side by side: issuing instructions, moving sectors, and passes over the banks of
//! shared memory. The longest of them is the estimate, which knows nothing of latency, caches or occupancy: it says
//! which of two layouts is better, not how many tokens a second come out.

mod card;
mod tables;

use serde::Serialize;

use crate::{Class, Counters};

pub use card::{Card, Rates};
pub use tables::CARDS;

/// An estimated time, marked as one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The card's name.
    pub card: &'static str,
    /// Always true: nothing here was measured.
    pub is_estimate: bool,
    /// The estimate: the longest of the three below.
    pub microseconds: f64,
    /// For issuing the instructions.
    pub instructions: f64,
    /// For moving the sectors.
    pub memory: f64,
    /// For the passes over shared memory.
    pub shared: f64,
    /// Which of them it is.
    pub bound: &'static str,
}

/// Integer multiply-adds of one m16n8k32 product of a warp, the shape that the estimate takes all products for.
const TENSOR_WORK: f64 = 4_096.0;
/// Simple instructions that a division or an exact root becomes, by disassembly of what compilers emit: about 8 to 20.
const DIVIDE_STEPS: f64 = 12.0;

impl Card {
    /// The card of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CARDS.iter().find(|card| card.name.eq_ignore_ascii_case(name))
    }

    /// Estimates the time of a launch.
    pub fn estimate(&self, counters: &Counters) -> Estimate {
        // A launch with fewer blocks than multiprocessors leaves the others idle.
        let busy = f64::from(self.multiprocessors).min(counters.blocks.max(1) as f64);
        let per_microsecond = busy * self.gigahertz * 1e3;
        let clocks: f64 = Class::ALL
            .iter()
            .map(|&class| counters.classes.get(class) as f64 * self.clocks(class))
            .sum();
        // Four schedulers issue one warp instruction each a clock at most.
        let issue = counters.instructions as f64 / 4.0;
        let sectors = counters.global_loads.sectors + counters.global_stores.sectors;
        let instructions = clocks.max(issue) / per_microsecond;
        let memory = sectors as f64 * 32.0 / (self.bandwidth * 1e3);
        let shared = counters.shared.wavefronts as f64 / per_microsecond;
        let parts = [
            ("instructions", instructions),
            ("memory", memory),
            ("shared memory", shared),
        ];
        let (bound, microseconds) =
            parts.into_iter().fold(
                ("instructions", 0.0),
                |most, part| if part.1 > most.1 { part } else { most },
            );
        Estimate {
            card: self.name,
            is_estimate: true,
            microseconds,
            instructions,
            memory,
            shared,
            bound,
        }
    }

    /// Clocks of a multiprocessor that one warp instruction of a class takes.
    fn clocks(&self, class: Class) -> f64 {
        let r = &self.rates;
        let rate = match class {
            Class::Hidden => return 0.0,
            Class::Tensor if r.tensor > 0.0 => return TENSOR_WORK / r.tensor,
            Class::Divide => return DIVIDE_STEPS * 32.0 / r.single,
            Class::Integer
            | Class::Move
            | Class::Control
            | Class::Barrier
            | Class::Other
            | Class::Constant => r.integer,
            Class::Multiply => r.multiply,
            Class::Dot | Class::Tensor => r.dot,
            Class::HalfDot => r.half_dot,
            Class::Shift => r.shift,
            Class::Bits => r.bits,
            Class::Convert => r.convert,
            Class::Single => r.single,
            Class::Fused => r.fused,
            Class::Half | Class::HalfFused => r.half,
            Class::Double => r.double,
            Class::Special => r.special,
            Class::Warp => r.warp,
            Class::Global | Class::Shared | Class::Local | Class::Atomic => r.memory,
        };
        32.0 / rate
    }
}

#[cfg(test)]
mod tests;
