//! The definition against double precision, within the bounds that docs/arithmetic.md states.

use super::*;
use crate::weights::quants::{Block, TensorType, dequantise, each_block};

fn wave(length: usize, step: f64, size: f64) -> Vec<f32> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a test's numbers"
    )]
    (0..length)
        .map(|index| ((index as f64 * step).sin() * size) as f32)
        .collect()
}

fn close(got: f32, expected: f64, bound: f64, what: &str) {
    let difference = (f64::from(got) - expected).abs();
    assert!(
        difference <= bound,
        "{what}: {got}, not {expected}; bound {bound}"
    );
}

#[test]
fn exp_is_within_two_units_in_the_last_place_and_exact_at_its_ends() {
    for step in -87_000..=88_000i32 {
        let x = f32::from(i16::try_from(step / 100).expect("small"))
            + f32::from(i8::try_from(step % 100).expect("small")) * 0.01;
        if (-87.0..=88.0).contains(&x) {
            let expected = f64::from(x).exp();
            close(exp(x), expected, expected * 2.4e-7, "exp");
        }
    }
    assert_eq!((exp(0.0), exp(-0.0), exp(-87.1)), (1.0, 1.0, 0.0));
    assert_eq!((exp(f32::NEG_INFINITY), exp(f32::INFINITY)), (0.0, exp(88.0)));
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn activations_are_within_their_bounds_and_tanh_is_odd() {
    for step in -2000..2000i16 {
        let x = f32::from(step) * 0.02;
        let d = f64::from(x);
        close(silu(x), d / (1.0 + (-d).exp()), d.abs() * 6e-7, "silu");
        let u = (2.0 / std::f64::consts::PI).sqrt() * (d + 0.044_715 * d.powi(3));
        close(gelu(x), d / 2.0 * (1.0 + u.tanh()), d.abs() * 1e-6, "gelu");
        close(tanh(x), d.tanh(), 1.8e-7, "tanh");
        assert_eq!(tanh(-x).to_bits(), (-tanh(x)).to_bits());
        close(soft_cap(x, 30.0), 30.0 * (d / 30.0).tanh(), 6e-6, "soft cap");
    }
    assert!(silu(f32::NAN).is_nan() && gelu(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    assert_eq!(
        (gelu(f32::MAX), gelu(f32::MIN), silu(f32::MAX)),
        (f32::MAX, f32::MIN / exp(88.0), f32::MAX)
    );
}

#[test]
fn sums_over_rows_are_within_their_bounds() {
    for width in [1, 64, 128, 576, 4864] {
        let (x, weight) = (wave(width, 0.37, 3.0), wave(width, 0.11, 2.0));
        let exact: f64 = x
            .iter()
            .zip(&weight)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        let sizes: f64 = x
            .iter()
            .zip(&weight)
            .map(|(a, b)| (f64::from(*a) * f64::from(*b)).abs())
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a test's numbers")]
        let additions = (width.div_ceil(STRIDES) + 8) as f64;
        close(dot(&x, &weight), exact, sizes * additions * 6e-8, "dot");

        let mut out = vec![0.0; width];
        rms_norm(&x, &weight, 1e-5, &mut out);
        #[expect(clippy::cast_precision_loss, reason = "a test's numbers")]
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
        for ((out, x), weight) in out.iter().zip(&x).zip(&weight) {
            let expected = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*weight);
            close(*out, expected, expected.abs() * additions * 1e-7, "norm");
        }
    }
}

#[test]
fn rotated_pairs_are_within_their_bound_and_keep_their_length() {
    for step in 0..400i16 {
        let angle = f64::from(step) * 0.37;
        let (a, b) = (f32::from(step) * 0.013 - 2.0, 1.7 - f32::from(step) * 0.007);
        #[expect(clippy::cast_possible_truncation, reason = "as the table is rounded")]
        let (cos, sin) = (angle.cos() as f32, angle.sin() as f32);
        let (x, y) = rotate_pair(a, b, cos, sin);
        let (a, b) = (f64::from(a), f64::from(b));
        let size = a.abs() + b.abs();
        close(x, a * angle.cos() - b * angle.sin(), size * 2e-7, "rotation");
        close(y, a * angle.sin() + b * angle.cos(), size * 2e-7, "rotation");
        let length = f64::from(x).hypot(f64::from(y));
        assert!((length - a.hypot(b)).abs() <= size * 3e-7, "{length}");
    }
}

#[test]
fn quantised_activations_are_within_half_a_step() {
    let x = wave(320, 0.37, 3.0);
    for (fine, steps) in [(false, 0.5001), (true, 0.002)] {
        for values in x.chunks(GROUP) {
            let group = quantise(values, fine);
            for ((value, quant), residual) in values.iter().zip(group.quants).zip(group.residuals) {
                let got = group.scale * (f32::from(quant) + f32::from(residual) / 254.0);
                close(
                    got,
                    f64::from(*value),
                    f64::from(group.scale) * steps,
                    "activation",
                );
            }
        }
    }
    let broken = quantise(&[1.0, f32::INFINITY], true);
    assert!(broken.scale.is_nan() && broken.total.is_nan() && broken.quants == [0; GROUP]);
    assert_eq!(quantise(&[1e-31; 32], true).scale.to_bits(), 0);
}

/// A row of random bytes whose floats are tame.
fn row(kind: TensorType, columns: usize) -> Vec<u8> {
    let raw = wave(columns, 0.23, 1.0);
    let mut bytes: Vec<u8> = match kind {
        TensorType::F32 => raw.iter().flat_map(|value| value.to_le_bytes()).collect(),
        TensorType::F16 => raw
            .iter()
            .flat_map(|value| half::f16::from_f32(*value).to_le_bytes())
            .collect(),
        TensorType::BF16 => raw
            .iter()
            .flat_map(|value| half::bf16::from_f32(*value).to_le_bytes())
            .collect(),
        _ => (0..kind.row_bytes(columns))
            .map(|index| (index * 97 % 251).to_le_bytes()[0])
            .collect(),
    };
    let scale = half::f16::from_f32(0.02).to_le_bytes();
    if kind.block_elements() > 1 {
        for block in bytes.chunks_exact_mut(kind.block_bytes()) {
            let at = if kind == TensorType::Q6_K { 208 } else { 0 };
            block[at..at + 2].copy_from_slice(&scale);
            if matches!(
                kind,
                TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K
            ) {
                block[2..4].copy_from_slice(&scale);
            }
        }
    }
    bytes
}

#[test]
fn products_are_within_their_bounds_of_the_formats_own_values() {
    let columns = 768;
    let x = wave(columns, 0.37, 3.0);
    for kind in TensorType::ALL {
        let bytes = row(kind, columns);
        let mut weights = vec![0.0; columns];
        dequantise(kind, &bytes, &mut weights);
        let mut blocks: Vec<Block> = Vec::new();
        each_block(kind, &bytes, |_, block| blocks.push(block.clone()));
        let exact: f64 = x
            .iter()
            .zip(&weights)
            .map(|(x, w)| f64::from(*x) * f64::from(*w))
            .sum();
        for (fine, steps) in [(false, 0.5001), (true, 0.002)] {
            let groups: Vec<Quantised> = x.chunks(GROUP).map(|x| quantise(x, fine)).collect();
            let mut bound = 0.0;
            for ((weights, x), group) in weights.chunks(GROUP).zip(x.chunks(GROUP)).zip(&groups) {
                // What rounding activations, 16-bit steps of weights, and sums may cost.
                let size: f64 = weights.iter().map(|w| f64::from(w.abs())).sum();
                let largest = weights.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                let inputs: f64 = x.iter().map(|x| f64::from(x.abs())).sum();
                bound += size * f64::from(group.scale) * steps
                    + inputs * f64::from(largest) / 65_000.0
                    + size * 3.0 * 2e-6;
            }
            close(
                product(&blocks, &groups, fine),
                exact,
                bound,
                &format!("{kind:?}"),
            );
        }
    }
}

#[test]
fn attention_is_within_its_bound_for_windows_caps_and_several_chunks() {
    let (head_size, length) = (10, 300);
    let query = wave(head_size, 0.7, 2.0);
    let (keys, values) = (
        wave(head_size * length, 0.31, 2.0),
        wave(head_size * length, 0.17, 1.0),
    );
    let at = |rows: &'static [f32], t: usize| &rows[t * 10..][..10];
    let (keys, values): (&'static [f32], &'static [f32]) = (keys.leak(), values.leak());
    for (visible, cap) in [
        (0..1, None),
        (0..64, None),
        (0..300, Some(5.0)),
        (70..300, None),
        (129..130, Some(2.0)),
    ] {
        let mut out = vec![0.0; head_size];
        let attention = Attention {
            scale: 0.3,
            soft_cap: cap,
        };
        attend(
            &query,
            |t| at(keys, t),
            |t| at(values, t),
            visible.clone(),
            attention,
            &mut out,
        );
        let score = |t: usize| {
            let dot: f64 = query
                .iter()
                .zip(at(keys, t))
                .map(|(q, k)| f64::from(*q) * f64::from(*k))
                .sum();
            let score = dot * f64::from(0.3f32);
            cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
        };
        let weights: Vec<f64> = visible.clone().map(|t| score(t).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (element, out) in out.iter().enumerate() {
            let expected: f64 = visible
                .clone()
                .zip(&weights)
                .map(|(t, w)| w * f64::from(at(values, t)[element]))
                .sum();
            close(*out, expected / total, 5e-6, "attention");
        }
    }
}
