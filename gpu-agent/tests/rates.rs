//! What an agent measures of a card at start, and what it computes with then, on a driver in software whose clock goes
//! by the card's cost table.

#[path = "support/machine.rs"]
#[expect(dead_code, reason = "other tests use other parts of this module")]
mod machine;

use gpu_agent::backend::cuda::launch::TENSOR_ROWS;
use gpu_agent::backend::cuda::modules::{Dot, Tensor};
use gpu_agent::backend::cuda::ops::CudaOps;
use gpu_agent::backend::cuda::rates::Unit;
use machine::machine;

/// Opens a card and compares what it would compute one row and many rows with.
fn computes_with(few: Unit, many: Unit) {
    let card = CudaOps::open(0).expect("a card");
    let units = card.units();
    let rates = units.rates();
    assert_eq!(
        (units.product(1), units.product(TENSOR_ROWS)),
        (few, many),
        "{rates:?}"
    );
}

#[test]
fn a_card_that_nobody_slowed_down_computes_with_dp4a_and_tensor_cores() {
    machine!("a_card_that_nobody_slowed_down_computes_with_dp4a_and_tensor_cores")
        .cards("rtx-3090")
        .run(|| computes_with(Unit::Dot(Dot::Dp4a), Unit::Tensor(Tensor::Ampere)));
}

#[test]
fn a_card_whose_dots_and_tensor_cores_are_slow_multiplies_and_adds() {
    machine!("a_card_whose_dots_and_tensor_cores_are_slow_multiplies_and_adds")
        // The name says nothing: the rates are those of a CMP 90HX.
        .cards("cmp-90hx:name=NVIDIA GeForce RTX 3090")
        .run(|| computes_with(Unit::Dot(Dot::Mad), Unit::Dot(Dot::Mad)));
}

#[test]
fn a_card_whose_dp4a_alone_is_slow_computes_with_dp2a() {
    machine!("a_card_whose_dp4a_alone_is_slow_computes_with_dp2a")
        .cards("cmp-50hx")
        .run(|| computes_with(Unit::Dot(Dot::Dp2a), Unit::Dot(Dot::Dp2a)));
}

#[test]
fn cards_without_tensor_cores_and_without_a_fast_fma_need_neither() {
    machine!("cards_without_tensor_cores_and_without_a_fast_fma_need_neither")
        .cards("p104-100")
        .run(|| computes_with(Unit::Dot(Dot::Dp4a), Unit::Dot(Dot::Dp4a)));
}

#[test]
fn a_mining_card_of_the_ampere_kind_keeps_its_tensor_cores() {
    machine!("a_mining_card_of_the_ampere_kind_keeps_its_tensor_cores")
        .cards("cmp-170hx")
        .run(|| computes_with(Unit::Dot(Dot::Dp4a), Unit::Tensor(Tensor::Ampere)));
}

#[test]
fn memory_and_link_are_measured_in_bytes_a_second() {
    machine!("memory_and_link_are_measured_in_bytes_a_second")
        .cards("rtx-3090:pcie=1x1")
        .run(|| {
            let card = CudaOps::open(0).expect("a card");
            let rates = *card.units().rates();
            let near = |got: f64, expected: f64| (got / expected - 1.0).abs() < 0.02;
            assert!(near(rates.memory, 936e9), "{rates:?}");
            assert!(near(rates.link, 0.25e9), "{rates:?}");
            // 82 multiprocessors of 64 lanes at 1.7 GHz; the rest of a loop counts too.
            assert!(
                (0.8..=1.0).contains(&(rates.dp4a / (82.0 * 64.0 * 1.7e9))),
                "{rates:?}"
            );
        });
}
