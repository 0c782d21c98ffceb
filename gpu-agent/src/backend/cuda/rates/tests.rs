use testbed_ptx::{CARDS, Card};

use super::*;

/// What the probe would find on a card: threads' operations a second, from the rates of a multiprocessor.
fn rates(card: &Card) -> Rates {
    let of = &card.rates;
    let clocks = f64::from(card.multiprocessors) * card.gigahertz * 1e9;
    Rates {
        dp4a: clocks * of.dot,
        dp2a: clocks / (2.0 / of.half_dot + 2.0 / of.shift),
        mad: clocks / (4.0 / of.multiply + 4.0 / of.shift),
        tensor: clocks * of.tensor,
        scale: clocks / (1.0 / of.convert + 3.0 / of.single),
        memory: card.bandwidth * 1e9,
        link: 16e9,
    }
}

fn units(name: &str) -> Units {
    let card = Card::named(name).unwrap();
    let capability = i32::try_from(card.capability).unwrap();
    Units::new(rates(card), (capability / 10, capability % 10))
}

#[test]
fn every_card_computes_with_what_it_is_fastest_at() {
    let ampere = Unit::Tensor(Tensor::Ampere);
    for (name, few, many) in [
        ("RTX 3090", Unit::Dot(Dot::Dp4a), ampere),
        ("RTX 4090", Unit::Dot(Dot::Dp4a), ampere),
        ("H100", Unit::Dot(Dot::Dp4a), ampere),
        // Only fused multiply-adds are slow, and no kernel has them.
        ("CMP 170HX", Unit::Dot(Dot::Dp4a), ampere),
        // dp4a, dp2a and tensor cores are slow; integer multiplication is not.
        ("CMP 90HX", Unit::Dot(Dot::Mad), Unit::Dot(Dot::Mad)),
        // dp4a is slow and dp2a is not.
        ("CMP 50HX", Unit::Dot(Dot::Dp2a), Unit::Dot(Dot::Dp2a)),
        ("P104-100", Unit::Dot(Dot::Dp4a), Unit::Dot(Dot::Dp4a)),
    ] {
        let units = units(name);
        assert_eq!(
            (units.product(1), units.product(TENSOR_ROWS)),
            (few, many),
            "{name}"
        );
    }
    assert_eq!(CARDS.len(), 7, "a card has no expectation");
}

#[test]
fn tiles_are_used_from_where_they_are_faster_and_never_for_one_or_two_rows() {
    let units = units("RTX 3090");
    let by_tiles = |rows| matches!(units.product(rows), Unit::Few(_));
    let first = (1..=256).find(|rows| by_tiles(*rows)).unwrap();
    assert!((FEW_ROWS..=8).contains(&first), "{first}");
    assert!((first..TENSOR_ROWS).all(by_tiles));
    // However fast they are.
    let only = Units::only(Dot::Mad, Some(Tensor::Turing));
    assert_eq!(only.product(FEW_ROWS - 1), Unit::Dot(Dot::Mad));
    assert_eq!(only.product(FEW_ROWS), Unit::Few(Tensor::Turing));
    assert_eq!(only.product(TENSOR_ROWS - 1), Unit::Few(Tensor::Turing));
    assert_eq!(only.product(TENSOR_ROWS), Unit::Tensor(Tensor::Turing));
    assert_eq!(Units::only(Dot::Dp2a, None).product(512), Unit::Dot(Dot::Dp2a));
}

#[test]
fn rows_that_are_computed_for_nothing_count() {
    let mut rates = rates(Card::named("P104-100").unwrap());
    (rates.dp4a, rates.dp2a, rates.mad, rates.scale) = (1.0, 1.5, 0.1, f64::INFINITY);
    let units = Units::new(rates, (6, 1));
    assert_eq!(units.product(1), Unit::Dot(Dot::Dp2a));
    // Only dp4a has a kernel for two rows; the others compute four.
    assert_eq!(units.product(2), Unit::Dot(Dot::Dp4a));
    assert_eq!(units.product(4), Unit::Dot(Dot::Dp2a));
}

#[test]
fn a_rate_of_zero_is_never_chosen() {
    let rates = Rates {
        dp4a: 0.0,
        dp2a: 0.0,
        mad: 1.0,
        tensor: 0.0,
        scale: 1.0,
        memory: 1.0,
        link: 1.0,
    };
    let units = Units::new(rates, (8, 6));
    assert_eq!(units.product(1), Unit::Dot(Dot::Mad));
    assert_eq!(units.product(512), Unit::Dot(Dot::Mad));
}
