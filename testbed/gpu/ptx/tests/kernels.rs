//! Kernels that NVRTC 12.0 compiled from the CUDA sources in `kernels/`, against the same in plain Rust.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::many_single_char_names,
    reason = "sizes and values of tests are small, and named as in the formulas"
)]

mod support;

use support::Argument::{Float, Int, Pointer};
use support::{Card, Numbers};
use testbed_ptx::FaultKind;

macro_rules! ptx {
    ($name:literal) => {
        include_str!(concat!("kernels/", $name, ".ptx"))
    };
}

fn assert_near(actual: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(actual.len(), expected.len());
    for (i, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(actual) - expected).abs() / expected.abs().max(1e-3);
        assert!(
            error <= bound,
            "element {i}: {actual} where {expected} is expected"
        );
    }
}

#[test]
fn rmsnorm_is_within_rounding_of_double_precision() {
    for text in [ptx!("rmsnorm.sm_61"), ptx!("rmsnorm.sm_80")] {
        let (card, mut numbers) = (Card::new(text), Numbers(1));
        let (rows, n) = (5, 300);
        let (x, w) = (numbers.floats(rows * n), numbers.floats(n));
        let y = card.room((rows * n * 4) as u64);
        let arguments = [
            Pointer(y),
            Pointer(card.put(&x)),
            Pointer(card.put(&w)),
            Int(n as i32),
            Float(1e-5),
        ];
        card.run("rmsnorm", [rows as u32, 1, 1], [128, 1, 1], 0, &arguments);
        let mut expected = Vec::new();
        for row in x.chunks(n) {
            let squares: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let scale = 1.0 / (squares / n as f64 + 1e-5).sqrt();
            expected.extend(
                row.iter()
                    .zip(&w)
                    .map(|(&v, &w)| f64::from(v) * scale * f64::from(w)),
            );
        }
        assert_near(&card.get(y, rows * n), &expected, 1e-6);
    }
}

#[test]
fn a_missing_barrier_is_stopped() {
    let (card, mut numbers) = (Card::new(ptx!("rmsnorm.sm_80")), Numbers(2));
    let (x, y) = (card.put(&numbers.floats(256)), card.room(1_024));
    let fault = card.fault(
        "rmsnorm_without_barrier",
        [1, 1, 1],
        [128, 1, 1],
        0,
        &[Pointer(y), Pointer(x), Int(256)],
    );
    assert!(
        matches!(fault.kind, FaultKind::Race | FaultKind::Uninitialised),
        "{fault}"
    );
    assert!(
        fault.instruction.starts_with("ld.shared.f32") || fault.instruction.starts_with('@'),
        "{fault}"
    );
}

#[test]
fn quantising_gives_the_bytes_of_plain_rust() {
    let (card, mut numbers) = (Card::new(ptx!("quantise.sm_75")), Numbers(3));
    let blocks = 21;
    let mut x = numbers.floats(blocks * 32);
    x[64..96].fill(0.0);
    let (q, d) = (card.room((blocks * 32) as u64), card.room((blocks * 8) as u64));
    card.run(
        "quantise_q8",
        [3, 1, 1],
        [256, 1, 1],
        0,
        &[Pointer(q), Pointer(d), Pointer(card.put(&x)), Int(blocks as i32)],
    );
    let (q, d): (Vec<i8>, Vec<f32>) = (card.get(q, blocks * 32), card.get(d, blocks * 2));
    for (block, values) in x.chunks(32).enumerate() {
        let scale = values.iter().fold(0.0_f32, |most, v| most.max(v.abs())) / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        assert_eq!(d[2 * block].to_bits(), scale.to_bits());
        for (lane, &value) in values.iter().enumerate() {
            assert_eq!(q[32 * block + lane], (value * inverse).round_ties_even() as i8);
        }
    }
}

#[test]
fn a_dp4a_product_has_the_bits_of_plain_rust() {
    for text in [ptx!("gemv.sm_61"), ptx!("gemv.sm_90")] {
        let (card, mut numbers) = (Card::new(text), Numbers(4));
        let (rows, blocks) = (10_usize, 70_usize);
        let (w, x) = (numbers.bytes(rows * blocks * 32), numbers.bytes(blocks * 32));
        let (wd, xd) = (numbers.floats(rows * blocks), numbers.floats(blocks * 2));
        let y = card.room((rows * 4) as u64);
        let arguments = [
            Pointer(y),
            Pointer(card.put(&w)),
            Pointer(card.put(&wd)),
            Pointer(card.put(&x)),
            Pointer(card.put(&xd)),
            Int(rows as i32),
            Int(blocks as i32),
        ];
        let counters = card.run("gemv_q8", [3, 1, 1], [128, 1, 1], 0, &arguments);
        assert!(counters.classes.dot > 0 && counters.global_loads.sectors > 0);
        let y: Vec<f32> = card.get(y, rows);
        for row in 0..rows {
            let mut lanes = [0.0_f32; 32];
            for block in 0..blocks {
                let dot: i32 = (0..32)
                    .map(|i| i32::from(w[(row * blocks + block) * 32 + i]) * i32::from(x[block * 32 + i]))
                    .sum();
                let lane = &mut lanes[block % 32];
                *lane = (wd[row * blocks + block] * xd[2 * block]).mul_add(dot as f32, *lane);
            }
            for step in [16, 8, 4, 2, 1] {
                let before = lanes;
                for (lane, sum) in lanes.iter_mut().enumerate() {
                    *sum = before[lane] + before[lane ^ step];
                }
            }
            assert_eq!(y[row].to_bits(), lanes[0].to_bits(), "row {row}");
        }
    }
}

#[test]
fn attention_over_pages_is_within_rounding_of_double_precision() {
    for text in [ptx!("attention.sm_75"), ptx!("attention.sm_80")] {
        let (card, mut numbers) = (Card::new(text), Numbers(5));
        let (sequences, heads, kv_heads, pages, pool) = (2_usize, 4_usize, 2_usize, 3_usize, 7_usize);
        let lengths = [37_i32, 5];
        let table: Vec<i32> = vec![6, 2, 4, 1, 0, 3];
        let q = numbers.floats(sequences * heads * 64);
        let (k, v) = (
            numbers.floats(pool * 16 * kv_heads * 64),
            numbers.floats(pool * 16 * kv_heads * 64),
        );
        let out = card.room((sequences * heads * 64 * 4) as u64);
        let arguments = [
            Pointer(out),
            Pointer(card.put(&q)),
            Pointer(card.put(&k)),
            Pointer(card.put(&v)),
            Pointer(card.put(&table)),
            Pointer(card.put(&lengths)),
            Int(heads as i32),
            Int(kv_heads as i32),
            Int(pages as i32),
            Float(0.125),
        ];
        card.run(
            "attend",
            [heads as u32, sequences as u32, 1],
            [64, 1, 1],
            0,
            &arguments,
        );
        let mut expected = Vec::new();
        for (sequence, &length) in lengths.iter().enumerate() {
            for head in 0..heads {
                let at = |token: usize| {
                    let page = table[sequence * pages + token / 16] as usize;
                    ((page * 16 + token % 16) * kv_heads + head / 2) * 64
                };
                let query = &q[(sequence * heads + head) * 64..][..64];
                let scores: Vec<f64> = (0..length as usize)
                    .map(|token| {
                        (0..64)
                            .map(|i| f64::from(query[i]) * f64::from(k[at(token) + i]))
                            .sum::<f64>()
                            * 0.125
                    })
                    .collect();
                let most = scores.iter().fold(f64::MIN, |most, &score| most.max(score));
                let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                let total: f64 = weights.iter().sum();
                expected.extend((0..64).map(|i| {
                    weights
                        .iter()
                        .enumerate()
                        .map(|(token, w)| w * f64::from(v[at(token) + i]))
                        .sum::<f64>()
                        / total
                }));
            }
        }
        assert_near(&card.get(out, sequences * heads * 64), &expected, 1e-4);
    }
}

#[test]
fn an_integer_matrix_product_is_exact() {
    let (card, mut numbers) = (Card::new(ptx!("gemm.sm_80")), Numbers(6));
    let (m, n, k) = (32_usize, 24_usize, 96_usize);
    let (a, b) = (numbers.bytes(m * k), numbers.bytes(n * k));
    let c = card.room((m * n * 4) as u64);
    let arguments = [
        Pointer(c),
        Pointer(card.put(&a)),
        Pointer(card.put(&b)),
        Int(n as i32),
        Int(k as i32),
    ];
    let counters = card.run(
        "gemm_s8",
        [(n / 8) as u32, (m / 16) as u32, 1],
        [32, 1, 1],
        0,
        &arguments,
    );
    assert_eq!(counters.classes.tensor, (n / 8 * m / 16 * k / 32) as u64);
    let c: Vec<i32> = card.get(c, m * n);
    for row in 0..m {
        for column in 0..n {
            let sum: i32 = (0..k)
                .map(|i| i32::from(a[row * k + i]) * i32::from(b[column * k + i]))
                .sum();
            assert_eq!(c[row * n + column], sum, "element {row}, {column}");
        }
    }
}

#[test]
fn calls_tables_variables_and_local_arrays_work() {
    for text in [ptx!("calls.sm_61"), ptx!("calls.sm_90")] {
        let card = Card::new(text);
        let n = 70_usize;
        let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.25 + 0.5).collect();
        let (out, sums) = (card.room((n * 4) as u64), card.room((n * 4) as u64));
        card.run(
            "calls",
            [3, 1, 1],
            [32, 1, 1],
            0,
            &[Pointer(out), Pointer(sums), Pointer(card.put(&x)), Int(n as i32)],
        );
        let table = [1.0_f32, 2.5, -3.0, 0.125];
        let (out, sums): (Vec<f32>, Vec<i32>) = (card.get(out, n), card.get(sums, n));
        for i in 0..n {
            let (value, y) = (x[i], i as f64);
            let expected = match i & 7 {
                0 => value + table[0],
                1 => value * table[1],
                2 => value - y as f32,
                3 => value.sqrt() * table[3],
                4 => value / 3.0,
                5 => (y / 7.0) as f32,
                which => table[which & 3],
            };
            assert_eq!(out[i].to_bits(), expected.to_bits(), "element {i}");
            let mut kept = [0_i32; 16];
            (0..16).for_each(|j| kept[(j * 7 + i) & 15] = (j * i) as i32);
            let sum: i32 = (0..16)
                .map(|j| kept[if j as f32 + value > 1.0 { j } else { 15 - j }] * (j as i32 + 1))
                .sum();
            let factorial: i32 = (1..=(i & 7) as i32).product();
            assert_eq!(sums[i], sum + factorial, "element {i}");
        }
        let visits = card
            .module
            .globals()
            .iter()
            .position(|variable| variable.name == "visits")
            .expect("a variable");
        assert_eq!(card.get::<u32>(card.globals[visits], 1), [n as u32]);
    }
}
