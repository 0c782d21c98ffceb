//! The checkers check: mistakes that people make in kernels, each planted into the PTX of a good one, are all caught.

mod plant;

use gpu_agent::backend::cuda::launch::Shape;
use gpu_agent::backend::cuda::layout::Format;
use gpu_agent::weights::quants::TensorType;
use testbed_ptx::{Fault, FaultKind, Module};

use crate::arguments;
use crate::attention::{self, Rotated, Scene};
use crate::card::{Card, ptx, same};
use crate::product::{Case, Unit, reserve};
use crate::random::Random;

/// How a planted bug shows.
#[derive(Debug)]
enum Caught {
    /// A checker stopped the launch.
    By(FaultKind),
    /// The result has other bits than the twin's.
    Bits,
    Nowhere,
}

impl Caught {
    fn of(result: Result<(Vec<f32>, Vec<f32>), Box<Fault>>) -> Self {
        match result {
            Err(fault) => Self::By(fault.kind),
            Ok((got, expected)) if got.iter().zip(&expected).all(|(a, b)| same(*a, *b)) => Self::Nowhere,
            Ok(_) => Self::Bits,
        }
    }
}

/// Several warps, two turns, and a last segment that is not full.
fn product(kind: TensorType, plant: impl Fn(&str) -> String) -> Caught {
    let card = Card::new(61);
    let module = card.module(&plant(&Unit::Dp4a.ptx(Format::of(kind))));
    let case = Case {
        kind,
        rows: 1,
        columns: 9 * 256 + 32,
        outputs: 32,
        fine: false,
        most_warps: 8,
    };
    Caught::of(case.run(Unit::Dp4a, &card, &module))
}

fn decode(plant: impl Fn(&str) -> String) -> Caught {
    let scene = Scene {
        heads: 2,
        kv_heads: 1,
        size: 64,
        sequences: vec![(70, 1), (20, 1)],
        window: 0,
        cap: 0.0,
    };
    let card = Card::new(61);
    let module = card.module(&plant(&ptx(attention::MODULE)));
    let staged = scene.stage(&card);
    let got = scene.decode(&card, &module, &staged);
    Caught::of(got.map(|got| (got, staged.expected())))
}

fn norm(plant: impl Fn(&str) -> String) -> Caught {
    let card = Card::new(61);
    let module: Module = card.module(&plant(&ptx("rows.sm_61")));
    let (x, weight) = (Random::new(1).floats(256), vec![1.0f32; 256]);
    let out = card.reserve::<f32>(256);
    let arguments = arguments![
        card.upload(&x),
        0u64,
        card.upload(&weight),
        1e-5f32,
        f32::INFINITY,
        256i32,
        out,
        reserve(&card, 8, false),
        card.upload(&[0u32])
    ];
    let ran = card.try_run(&module, "norm_quantise", Shape::rows(1), arguments);
    let mut expected = vec![0.0; 256];
    gpu_agent::backend::arithmetic::rms_norm(&x, &weight, 1e-5, &mut expected);
    Caught::of(ran.map(|_| (card.download(out, 256), expected)))
}

fn soft_cap(plant: impl Fn(&str) -> String) -> Caught {
    let card = Card::new(61);
    let module = card.module(&plant(&ptx("sampling.sm_61")));
    let logits = Random::new(2).floats(100);
    let x = card.upload(&logits);
    let ran = card.try_run(
        &module,
        "soft_cap",
        Shape::values(100),
        arguments![x, 5.0f32, 100u64],
    );
    let expected = logits
        .iter()
        .map(|logit| gpu_agent::backend::arithmetic::soft_cap(*logit, 5.0))
        .collect();
    Caught::of(ran.map(|_| (card.download(x, 100), expected)))
}

#[test]
fn nothing_is_caught_where_nothing_is_planted() {
    let nothing = str::to_owned;
    for caught in [
        product(TensorType::Q4_0, nothing),
        product(TensorType::Q4_1, nothing),
        decode(nothing),
        norm(nothing),
        soft_cap(nothing),
    ] {
        assert!(matches!(caught, Caught::Nowhere), "{caught:?}");
    }
}

#[test]
fn a_missing_barrier_is_a_race() {
    let caught = product(TensorType::Q4_0, |ptx| plant::missing_barrier(ptx, "product_1"));
    assert!(
        matches!(caught, Caught::By(FaultKind::Race | FaultKind::Uninitialised)),
        "{caught:?}"
    );
}

#[test]
fn a_barrier_that_half_of_a_block_reaches_is_divergent() {
    let caught = norm(|ptx| plant::divergent_barrier(ptx, "norm_quantise"));
    assert!(matches!(caught, Caught::By(FaultKind::Barrier)), "{caught:?}");
}

#[test]
fn one_element_too_many_is_out_of_bounds() {
    let caught = soft_cap(|ptx| plant::off_by_one(ptx, "soft_cap"));
    assert!(matches!(caught, Caught::By(FaultKind::OutOfBounds)), "{caught:?}");
}

#[test]
fn shared_memory_that_was_not_filled_is_uninitialised() {
    let caught = product(TensorType::Q4_0, |ptx| plant::dropped_store(ptx, "product_1"));
    assert!(
        matches!(caught, Caught::By(FaultKind::Uninitialised)),
        "{caught:?}"
    );
}

#[test]
fn a_stride_that_is_too_short_lets_warps_meet() {
    let caught = product(TensorType::Q4_0, |ptx| plant::wrong_stride(ptx, "product_1"));
    assert!(
        matches!(caught, Caught::By(FaultKind::Race | FaultKind::Uninitialised)),
        "{caught:?}"
    );
}

#[test]
fn swapped_nibbles_have_other_bits() {
    let caught = product(TensorType::Q4_1, |ptx| plant::swapped_nibbles(ptx, "product_1"));
    assert!(matches!(caught, Caught::Bits), "{caught:?}");
}

#[test]
fn an_ignored_block_table_reads_what_nobody_wrote_or_other_bits() {
    let caught = decode(|ptx| plant::ignored_table(ptx, "attend_chunk_1"));
    assert!(
        matches!(caught, Caught::By(FaultKind::Uninitialised) | Caught::Bits),
        "{caught:?}"
    );
}

#[test]
fn a_sum_in_another_order_has_other_bits() {
    let caught = decode(|ptx| plant::reordered_sum(ptx, "attend_chunk_1"));
    assert!(matches!(caught, Caught::Bits), "{caught:?}");
}

#[test]
fn a_contracted_multiply_add_has_other_bits() {
    let caught = product(TensorType::Q4_1, |ptx| plant::contracted(ptx, "product_1"));
    assert!(matches!(caught, Caught::Bits), "{caught:?}");
}

#[test]
#[should_panic(expected = "cache of heads")]
fn a_conversion_that_truncates_has_other_bits() {
    attention::rotate(
        &Rotated {
            size: 64,
            turned: 64,
            pairs: 0,
            norm: false,
        },
        &plant::truncated(&ptx(attention::MODULE), "rotate_store"),
    );
}
