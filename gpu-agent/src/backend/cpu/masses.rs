//! What sampling asks of every logit of a row, for each instruction set.

use super::{elementwise::exp, isa::for_every_isa};
use crate::backend::sampling::Softmax;

/// Logits that are searched for the largest one in one go.
const SEARCHED: usize = 256;
/// Bits of a float's mantissa.
const MANTISSA: u32 = 23;
/// Exponent bits of 1.
const BIAS: u32 = 127;
/// A mass is a multiple of 2⁻⁴⁰: so far a mantissa of 24 bits is shifted to stand for a value from 1 to 2.
const SHIFT: u32 = 40 - MANTISSA;

for_every_isa! {
    /// As [`Softmax::of`], which defines it.
    pub(super) fn softmax(logits: &[f32]) -> Option<Softmax> {
        let (mut largest, mut numbers) = (f32::NEG_INFINITY, true);
        for logit in logits {
            largest = if *logit > largest { *logit } else { largest };
            numbers &= !logit.is_nan();
        }
        if !(numbers && largest.is_finite()) {
            return None;
        }
        let mut total = 0u64;
        for logit in logits {
            total += mass(exp(*logit - largest));
        }
        Some(Softmax { largest, likeliest: first(logits, largest)?, total })
    }
}

/// `⌊weight · 2⁴⁰⌋` for `0 ≤ weight < 2`, without a conversion that some instruction sets lack.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn mass(weight: f32) -> u64 {
    let bits = weight.to_bits();
    let mantissa = bits & ((1 << MANTISSA) - 1) | 1 << MANTISSA;
    // What 41 bits lose to a shift by 63 is all of them: small weights, and zero, have no mass.
    let small = BIAS.wrapping_sub(bits >> MANTISSA).min(63);
    (u64::from(mantissa) << SHIFT) >> small
}

/// Where `largest` stands first.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
#[expect(clippy::float_cmp, reason = "it is one of them")]
fn first(logits: &[f32], largest: f32) -> Option<u32> {
    for (part, values) in logits.chunks(SEARCHED).enumerate() {
        let mut found = false;
        for value in values {
            found |= *value == largest;
        }
        if found {
            let place = values.iter().position(|value| *value == largest)?;
            return u32::try_from(part * SEARCHED + place).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backend::{arithmetic, cpu::Isa};

    fn same_on_every_isa(logits: &[f32]) {
        for isa in [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni].map(|isa| isa.min(Isa::detect())) {
            assert_eq!(softmax(isa, logits), Softmax::of(logits), "{isa:?} {logits:?}");
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 2^41"
    )]
    #[test]
    fn a_mass_is_the_weight_rounded_down() {
        let weights = (0..30_000i16).map(|step| arithmetic::exp(f32::from(step) * -1e-3));
        let edges = [
            0.0,
            f32::MIN_POSITIVE,
            1.0,
            1.0f32.next_down(),
            2.0f32.next_down(),
        ];
        for weight in weights.chain(edges) {
            assert_eq!(mass(weight), (weight * 1_099_511_627_776.0) as u64, "{weight}");
        }
    }

    #[test]
    fn rows_of_every_kind_have_the_softmax_of_the_definition() {
        let zeros = [-0.0, 0.0, -0.0];
        let far = [1.0, -27.0, -26.999_998, -87.0, -1e30, f32::MIN, f32::NEG_INFINITY];
        let wide = [f32::MAX, f32::MIN];
        for row in [
            &[][..],
            &[f32::NEG_INFINITY; 40],
            &[7.0; 300],
            &zeros,
            &far,
            &wide,
        ] {
            same_on_every_isa(row);
        }
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
            for place in [0, 17, 599] {
                let mut row = vec![1.5; 600];
                row[place] = bad;
                same_on_every_isa(&row);
                assert_eq!(softmax(Isa::detect(), &row), None);
            }
        }
    }

    proptest! {
        #[test]
        fn any_row_has_the_softmax_of_the_definition(
            logits in prop::collection::vec(prop_oneof![-40.0f32..40.0, -2.0f32..2.0, Just(39.5f32)], 0..700),
        ) {
            same_on_every_isa(&logits);
        }

        #[test]
        fn any_bits_have_the_softmax_of_the_definition(
            bits in prop::collection::vec(any::<u32>(), 1..40),
        ) {
            let logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            same_on_every_isa(&logits);
        }
    }
}
