//! What the kernel `sample` writes of each row, as `kernels/sampling.cu` has it.

/// A chosen token, and what its log-probability is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The token.
    pub token: u32,
    /// Whether a logit was NaN or +∞: there is no token then.
    pub bad: bool,
    /// The token's logit, as it was before penalties.
    pub logit: f32,
    /// The largest of all logits, as they were.
    pub largest: f32,
    /// Sum of all weights `e^(logit − largest)`, in units of 2⁻⁴⁰.
    pub mass: u64,
}

impl Sample {
    /// Words of one.
    pub const WORDS: usize = 6;

    /// Reads one.
    pub fn of(words: [u32; Self::WORDS]) -> Self {
        let [token, bad, logit, largest, low, high] = words;
        Self {
            token,
            bad: bad != 0,
            logit: f32::from_bits(logit),
            largest: f32::from_bits(largest),
            mass: u64::from(low) | u64::from(high) << 32,
        }
    }

    /// `(logit − largest) − ln(mass / 2⁴⁰)`, the logarithm in double precision: docs/arithmetic.md, "Sampling".
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "log-probabilities are small; the sum is rounded once"
    )]
    pub fn log_probability(&self) -> f32 {
        let total = self.mass as f64 / (1u64 << 40) as f64;
        (f64::from(self.logit) - f64::from(self.largest) - libm::log(total)) as f32
    }
}
