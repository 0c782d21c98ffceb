//! What the estimate knows of a card.

/// Results of a class of instructions per multiprocessor and clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// 32-bit integer sums and logic.
    pub integer: f64,
    /// 32-bit integer products.
    pub multiply: f64,
    /// `dp4a`.
    pub dot: f64,
    /// `dp2a`.
    pub half_dot: f64,
    /// Shifts and bit fields.
    pub shift: f64,
    /// Population counts and their kin.
    pub bits: f64,
    /// Conversions.
    pub convert: f64,
    /// Single-precision sums and products.
    pub single: f64,
    /// Single-precision fused multiply-adds.
    pub fused: f64,
    /// Half-precision operations, of two elements each where packed.
    pub half: f64,
    /// Double precision.
    pub double: f64,
    /// Approximate functions.
    pub special: f64,
    /// Shuffles and votes.
    pub warp: f64,
    /// Lanes of loads and stores.
    pub memory: f64,
    /// Multiply-adds of int8 matrix products; zero without tensor cores.
    pub tensor: f64,
}

/// A card as far as the estimate knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Card {
    /// Its name.
    pub name: &'static str,
    /// Compute capability, such as 86.
    pub capability: u32,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Clock under load, in GHz.
    pub gigahertz: f64,
    /// Bandwidth of its memory in GB/s.
    pub bandwidth: f64,
    /// What a multiprocessor does in a clock.
    pub rates: Rates,
    /// Where the figures come from.
    pub source: &'static str,
}
