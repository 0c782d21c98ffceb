//! Activations quantised to 8 bits in groups of 32, or to twice 8 bits where more care is asked for.

use super::{Isa, isa::for_every_isa};
use crate::backend::ops::Care;

/// Elements that share a scale.
pub(super) const GROUP: usize = 32;
/// Steps of a residual in one step of a quant: a residual of half a step becomes 127.
pub(super) const RESIDUAL_STEPS: f32 = 254.0;

/// Quantised rows: `x ≈ scale · (quant + residual / 254)`.
#[derive(Debug, Default)]
pub(super) struct Activations {
    /// `[rows, width]`, −127 to 127.
    pub(super) quants: Vec<i8>,
    /// `[rows, width / 32]`
    pub(super) scales: Vec<f32>,
    /// Sum of a group's quants, `[rows, width / 32]`
    pub(super) sums: Vec<i32>,
    /// What rounding to quants lost, as `quants`; empty unless asked for.
    pub(super) residuals: Vec<i8>,
    /// As `sums`.
    pub(super) residual_sums: Vec<i32>,
    pub(super) width: usize,
}

impl Activations {
    /// Replaces the content by `x`, which is `[rows, width]` with `width` a multiple of 32.
    pub(super) fn quantise(&mut self, isa: Isa, x: &[f32], width: usize, care: Care) {
        self.width = width;
        self.quants.resize(x.len(), 0);
        self.scales.resize(x.len() / GROUP, 0.0);
        self.sums.resize(x.len() / GROUP, 0);
        let fine = if care == Care::Fine { x.len() } else { 0 };
        self.residuals.resize(fine, 0);
        self.residual_sums.resize(fine / GROUP, 0);
        quantise(isa, x, &mut self.quants, &mut self.scales, &mut self.sums);
        if care == Care::Fine {
            quantise_rest(
                isa,
                x,
                &self.quants,
                &self.scales,
                &mut self.residuals,
                &mut self.residual_sums,
            );
        }
    }

    /// Groups of one row.
    pub(super) fn groups(&self) -> usize {
        self.width / GROUP
    }
}

/// Adding this to a small float rounds it to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `x` rounded to the nearest integer, for `|x| < 2^22`; without a branch or a call, so that loops over it vectorise.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn round(x: f32) -> i32 {
    (x + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed()
}

for_every_isa! {
    #[expect(clippy::cast_possible_truncation, reason = "a rounded value fits a byte")]
    fn quantise_rest(
        x: &[f32],
        quants: &[i8],
        scales: &[f32],
        residuals: &mut [i8],
        sums: &mut [i32],
    ) {
        let groups = x.as_chunks::<GROUP>().0.iter().zip(quants.as_chunks::<GROUP>().0);
        let outputs = residuals.as_chunks_mut::<GROUP>().0.iter_mut().zip(sums);
        for (((x, quants), scale), (residuals, sum)) in groups.zip(scales).zip(outputs) {
            let inverse = if *scale > 0.0 { 1.0 / scale } else { 0.0 };
            let mut total = 0;
            for ((residual, value), quant) in residuals.iter_mut().zip(x).zip(quants) {
                let rest = (value * inverse - f32::from(*quant)) * RESIDUAL_STEPS;
                let rounded = round(rest.clamp(-127.0, 127.0));
                *residual = rounded as i8;
                total += rounded;
            }
            *sum = total;
        }
    }
}

for_every_isa! {
    #[expect(clippy::cast_possible_truncation, reason = "a rounded value fits a byte")]
    fn quantise(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
        let groups = x.as_chunks::<GROUP>().0.iter().zip(quants.as_chunks_mut::<GROUP>().0);
        for (((x, quants), scale), sum) in groups.zip(scales).zip(sums) {
            let mut lanes = [0.0f32; GROUP];
            for (lane, value) in lanes.iter_mut().zip(x) {
                *lane = value.abs();
            }
            let mut half = GROUP / 2;
            while half > 0 {
                for index in 0..half {
                    lanes[index] = if lanes[index] > lanes[index + half] { lanes[index] } else { lanes[index + half] };
                }
                half /= 2;
            }
            let largest = lanes[0];
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let mut total = 0;
            for (quant, value) in quants.iter_mut().zip(x) {
                let rounded = round(value * inverse);
                *quant = rounded as i8;
                total += rounded;
            }
            *scale = largest / 127.0;
            *sum = total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_becomes_127_and_all_are_within_half_a_step() {
        let x: Vec<f32> = (0..64u8).map(|i| (f32::from(i) - 20.0) * 0.3).collect();
        let mut activations = Activations::default();
        activations.quantise(Isa::detect(), &x, 64, Care::Fine);
        for (group, values) in x.chunks(GROUP).enumerate() {
            let quants = &activations.quants[group * GROUP..][..GROUP];
            assert_eq!(quants.iter().map(|quant| quant.unsigned_abs()).max(), Some(127));
            assert_eq!(
                quants.iter().map(|quant| i32::from(*quant)).sum::<i32>(),
                activations.sums[group]
            );
            for (value, quant) in values.iter().zip(quants) {
                let scale = activations.scales[group];
                assert!((value - f32::from(*quant) * scale).abs() <= scale * 0.501);
            }
            let residuals = &activations.residuals[group * GROUP..][..GROUP];
            for ((value, quant), residual) in values.iter().zip(quants).zip(residuals) {
                let scale = activations.scales[group];
                let finer = f32::from(*quant) + f32::from(*residual) / RESIDUAL_STEPS;
                assert!((value - finer * scale).abs() <= scale * 0.003);
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut activations = Activations::default();
        activations.quantise(Isa::Scalar, &[0.0; 32], 32, Care::Fine);
        assert_eq!((activations.scales[0], activations.sums[0]), (0.0, 0));
    }
}
