use std::num::NonZeroUsize;

use super::*;

fn isas() -> [Isa; 3] {
    [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni].map(|isa| isa.min(Isa::detect()))
}

fn quantised(isa: Isa, threads: usize, x: &[f32], width: usize, care: Care) -> Activations {
    let pool = Pool::start(NonZeroUsize::new(threads).expect("positive")).expect("threads start");
    let mut activations = Activations::default();
    activations.quantise(&pool, isa, x, width, care);
    activations
}

/// Rows of many sizes, with groups of zeros, of tiny values and of what is no number.
fn hostile(rows: usize, width: usize) -> Vec<f32> {
    let mut x: Vec<f32> = (0..rows * width)
        .map(|index| {
            let value = f32::from(u16::try_from(index % 9973).expect("small")) * 0.71;
            value.sin() * 10.0f32.powi(i32::try_from(index / 40 % 70).expect("small") - 35)
        })
        .collect();
    x[..GROUP].fill(0.0);
    x[GROUP + 3] = f32::NAN;
    x[2 * GROUP + 1] = f32::NEG_INFINITY;
    x[3 * GROUP] = f32::from_bits(1);
    x[3 * GROUP + 1..4 * GROUP].fill(-0.0);
    x
}

#[test]
fn every_instruction_set_quantises_like_the_definition_bit_for_bit() {
    for width in [GROUP * 5, GROUP * 5 + 7] {
        let x = hostile(19, width);
        for (isa, care) in isas()
            .into_iter()
            .flat_map(|isa| [(isa, Care::Plain), (isa, Care::Fine)])
        {
            for threads in [1, 3] {
                let activations = quantised(isa, threads, &x, width, care);
                for (row, values) in x.chunks_exact(width).enumerate() {
                    for (group, values) in activations.tile(row / TILE).iter().zip(values.chunks(GROUP)) {
                        for fine in [false, care == Care::Fine] {
                            let (got, expected) = (group.row(row % TILE, fine), definition(values, fine));
                            assert_eq!((got.quants, got.residuals), (expected.quants, expected.residuals));
                            // NaN payloads do not count.
                            let bits = |value: f32| {
                                if value.is_nan() {
                                    0x7FC0_0000
                                } else {
                                    value.to_bits()
                                }
                            };
                            assert_eq!(bits(got.scale), bits(expected.scale), "{isa:?} {values:?}");
                            assert_eq!(bits(got.total), bits(expected.total), "{isa:?} {values:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_largest_value_becomes_127_and_all_are_within_half_a_step() {
    let x: Vec<f32> = (0..64u8).map(|i| (f32::from(i) - 20.0) * 0.3).collect();
    let activations = quantised(Isa::detect(), 1, &x, 64, Care::Fine);
    for (values, group) in x.chunks(GROUP).zip(activations.tile(0)) {
        let group = group.row(0, true);
        assert_eq!(
            group.quants.iter().map(|quant| quant.unsigned_abs()).max(),
            Some(127)
        );
        for ((value, quant), residual) in values.iter().zip(group.quants).zip(group.residuals) {
            assert!((value - f32::from(quant) * group.scale).abs() <= group.scale * 0.501);
            let finer = f32::from(quant) + f32::from(residual) / RESIDUAL_STEPS;
            assert!((value - finer * group.scale).abs() <= group.scale * 0.003);
        }
        assert!((values.iter().sum::<f32>() - group.total).abs() < group.scale * 0.1);
    }
}
