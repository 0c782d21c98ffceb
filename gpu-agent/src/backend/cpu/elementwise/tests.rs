use super::*;
use crate::backend::{arithmetic, cpu::Isa};

fn isas() -> [Isa; 3] {
    [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni].map(|isa| isa.min(Isa::detect()))
}

/// Values of all sizes and both signs, and what is no number.
fn values() -> Vec<f32> {
    let mut values: Vec<f32> = (0..40_000u32)
        .map(|index| f32::from_bits(index.wrapping_mul(2_654_435_761)))
        .collect();
    values.extend([
        0.0,
        -0.0,
        1.0,
        -87.0,
        -87.000_01,
        88.0,
        88.000_01,
        f32::MIN,
        f32::MAX,
        f32::NAN,
    ]);
    values.extend((-9000..9000i16).map(|step| f32::from(step) * 0.01));
    values
}

fn same(got: &[f32], expected: &[f32], what: &str, isa: Isa) {
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let equal = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
        assert!(equal, "{what} {isa:?} at {index}: {got}, not {expected}");
    }
}

#[test]
fn functions_of_one_float_are_those_of_the_definition_bit_for_bit() {
    let x = values();
    let up: Vec<f32> = x.iter().rev().copied().collect();
    let expected = |function: fn(f32) -> f32| -> Vec<f32> {
        x.iter().zip(&up).map(|(x, up)| function(*x) * up).collect()
    };
    for isa in isas() {
        let mut got = x.clone();
        swiglu(isa, &mut got, &up);
        same(&got, &expected(arithmetic::silu), "silu", isa);
        let mut got = x.clone();
        geglu(isa, &mut got, &up);
        same(&got, &expected(arithmetic::gelu), "gelu", isa);
        let mut got = x.clone();
        soft_cap(isa, 30.0, &mut got);
        let capped: Vec<f32> = x.iter().map(|x| arithmetic::soft_cap(*x, 30.0)).collect();
        same(&got, &capped, "soft cap", isa);
        let exponentials: Vec<f32> = x.iter().map(|x| exp(*x)).collect();
        let defined: Vec<f32> = x.iter().map(|x| arithmetic::exp(*x)).collect();
        same(&exponentials, &defined, "exp", isa);
    }
}

#[test]
fn sums_over_rows_are_those_of_the_definition_bit_for_bit() {
    let x: Vec<f32> = (0..1500u16)
        .map(|index| (f32::from(index) * 0.37).sin() * 5.0)
        .collect();
    for width in [1, 2, 64, 127, 128, 129, 576, 896, 1500] {
        let (x, weight) = (&x[..width], &x[1500 - width..]);
        let mut expected = vec![0.0; width];
        arithmetic::rms_norm(x, weight, 1e-5, &mut expected);
        for isa in isas() {
            let mut got = vec![0.0; width];
            rms_norm(isa, x, weight, 1e-5, &mut got);
            same(&got, &expected, "norm", isa);
            same(&[dot(isa, x, weight)], &[arithmetic::dot(x, weight)], "dot", isa);
        }
    }
}

#[test]
fn rotation_is_that_of_the_definition_bit_for_bit() {
    let x: Vec<f32> = (0..96u8).map(|index| (f32::from(index) * 0.37).sin()).collect();
    let angles: Vec<f32> = (0..16u8)
        .flat_map(|pair| [f32::from(pair).cos(), f32::from(pair).sin()])
        .collect();
    for (pairs, partner) in [(RopePairs::Adjacent, 1), (RopePairs::Halves, 16)] {
        let rotation = Rotation {
            size: 32,
            head_size: 48,
            pairs,
        };
        let mut expected = x.clone();
        for head in expected.chunks_exact_mut(48) {
            for (pair, angle) in angles.as_chunks::<2>().0.iter().enumerate() {
                let first = if partner == 1 { 2 * pair } else { pair };
                (head[first], head[first + partner]) =
                    arithmetic::rotate_pair(head[first], head[first + partner], angle[0], angle[1]);
            }
        }
        for isa in isas() {
            let mut got = x.clone();
            rotate(isa, &mut got, rotation, &angles);
            same(&got, &expected, "rotation", isa);
        }
    }
}
