//! Activations as 8-bit integers in groups of 32, or as twice 8 bits where more care is asked for.

use super::{GROUP, Quantised, RESIDUAL, RESIDUAL_STEPS, SMALLEST};

/// Quantises up to 32 neighbouring values of a row; missing ones are zeros.
///
/// A group that holds a NaN or an infinity has a NaN for its scale, which every product with it inherits.
#[expect(clippy::cast_possible_truncation, reason = "rounded to at most 127")]
#[expect(clippy::cast_precision_loss, reason = "sums of 32 bytes are below 2^24")]
pub fn quantise(values: &[f32], fine: bool) -> Quantised {
    let mut group = Quantised {
        quants: [0; GROUP],
        residuals: [0; GROUP],
        scale: 0.0,
        total: 0.0,
    };
    // Of the bits as integers, NaN is the largest: the result does not depend on the order.
    let largest = values.iter().map(|value| value.abs().to_bits()).max();
    let largest = f32::from_bits(largest.unwrap_or(0));
    if largest < SMALLEST {
        return group;
    }
    if !largest.is_finite() {
        (group.scale, group.total) = (f32::NAN, f32::NAN);
        return group;
    }
    let inverse = 127.0 / largest;
    for (index, value) in values.iter().enumerate() {
        let steps = value * inverse;
        let quant = steps.round_ties_even();
        group.quants[index] = quant as i8;
        if fine {
            let residual = ((steps - quant) * RESIDUAL_STEPS).round_ties_even();
            group.residuals[index] = residual.clamp(-127.0, 127.0) as i8;
        }
    }
    group.scale = largest / 127.0;
    let quants: i32 = group.quants.iter().copied().map(i32::from).sum();
    let residuals: i32 = group.residuals.iter().copied().map(i32::from).sum();
    group.total = if fine {
        group.scale * (quants as f32 + residuals as f32 * RESIDUAL)
    } else {
        group.scale * quants as f32
    };
    group
}
