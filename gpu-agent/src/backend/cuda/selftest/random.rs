//! Numbers and matrices that look random and are the same in every run.

use crate::weights::{file::RawMatrix, quants::TensorType};

/// `SplitMix64` (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// One sequence of numbers a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[7]
    }

    /// Between −1 and 1, with all bits of a float in use.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit exactly")]
    pub fn float(&mut self) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u64 << 24) as f32;
        unit * 2.0 - 1.0
    }

    /// Values of a spread of magnitudes, as activations have.
    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| {
                let value = self.float();
                value * value * value * 8.0
            })
            .collect()
    }

    /// A matrix whose integers take every value and whose scales are ordinary numbers.
    pub fn matrix(&mut self, kind: TensorType, rows: usize, columns: usize) -> RawMatrix {
        let mut bytes = Vec::new();
        for _ in 0..rows * columns / kind.block_elements() {
            bytes.extend(self.block(kind));
        }
        RawMatrix {
            kind,
            rows,
            columns,
            bytes,
        }
    }

    fn block(&mut self, kind: TensorType) -> Vec<u8> {
        let mut block: Vec<u8> = (0..kind.block_bytes()).map(|_| self.byte()).collect();
        match kind {
            TensorType::F32 => block = self.float().to_le_bytes().to_vec(),
            TensorType::F16 => block = half::f16::from_f32(self.float()).to_le_bytes().to_vec(),
            TensorType::BF16 => block = half::bf16::from_f32(self.float()).to_le_bytes().to_vec(),
            // Scales are the format's only floats; any bits would make infinities of some.
            TensorType::Q6_K => self.put_half(&mut block[208..]),
            TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 => self.put_half(&mut block),
            _ => {
                self.put_half(&mut block);
                self.put_half(&mut block[2..]);
            }
        }
        block
    }

    fn put_half(&mut self, to: &mut [u8]) {
        let value = half::f16::from_f32(self.float() * 0.1);
        to[..2].copy_from_slice(&value.to_le_bytes());
    }
}
