//! How exactly the processor computes.

/// How activations meet quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit float activations: follows the definition of the formats.
    Exact,
    /// 8-bit activations and integer products: as every fast engine does.
    Fast,
}
