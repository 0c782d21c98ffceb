use proptest::prelude::*;

use super::*;

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

fn usage(prompt: u64, completion: u64) -> Usage {
    Usage {
        prompt_tokens: TokenCount::new(prompt).unwrap(),
        completion_tokens: TokenCount::new(completion).unwrap(),
        ..Usage::default()
    }
}

fn prices(prompt: u64, completion: u64, minimum: u64) -> Prices {
    Prices {
        prompt: TokenPrice::from_nano_per_million(prompt).unwrap(),
        completion: TokenPrice::from_nano_per_million(completion).unwrap(),
        minimum_nano: nano(minimum),
        ..Prices::default()
    }
}

#[test]
fn a_request_is_rounded_up_once() {
    // 0.4 + 0.4 nanoTON are 0.8, so 1: rounding each class would give 2.
    assert_eq!(prices(400_000, 400_000, 0).cost(usage(1, 1)), Ok(nano(1)));
    assert_eq!(
        prices(20_000_000, 160_000_000, 0).cost(usage(5, 32)),
        Ok(nano(100 + 5_120))
    );
}

#[test]
fn a_request_costs_at_least_the_minimum() {
    assert_eq!(prices(0, 0, 1_000).cost(usage(3, 3)), Ok(nano(1_000)));
    assert_eq!(prices(1_000_000, 0, 1_000).cost(usage(2_000, 0)), Ok(nano(2_000)));
}

#[test]
fn an_overflowing_cost_is_an_error() {
    let most = u64::try_from(i64::MAX).unwrap();
    assert_eq!(
        prices(most, most, 0).cost(usage(most, most)),
        Err(UnitError::Overflow)
    );
}

#[test]
fn amounts_outside_int64_are_refused() {
    assert_eq!(NanoTon::from_nano(u64::MAX), Err(UnitError::Overflow));
    assert!(serde_json::from_str::<NanoTon>("-1").is_err());
    assert!(serde_json::from_str::<NanoTon>("9223372036854775808").is_err());
    assert!(serde_json::from_str::<NanoTon>("1.5").is_err());
    assert_eq!(nano(1).checked_sub(nano(2)), Err(UnitError::Negative));
}

#[test]
fn ton_strings_are_exact() {
    assert_eq!(nano(1_500_000_000).to_ton_string(), "1.5");
    assert_eq!(nano(1).to_ton_string(), "0.000000001");
    assert_eq!(nano(2_000_000_000).to_ton_string(), "2");
    for wrong in [
        "",
        ".",
        "-.5",
        "-1",
        "1e9",
        "1.0000000001",
        "+1",
        " 1",
        "9223372037",
    ] {
        assert_eq!(NanoTon::parse_ton(wrong), None, "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn ton_strings_round_trip(value in 0..=MAX_AMOUNT) {
        prop_assert_eq!(NanoTon::parse_ton(&nano(value).to_ton_string()), Some(nano(value)));
    }

    #[test]
    fn cost_is_exact_up_to_one_nano(
        prompt in 0..1_000_000_000u64, completion in 0..1_000_000_000u64,
        p in 0..100_000u64, c in 0..100_000u64,
    ) {
        let cost = u128::from(prices(prompt, completion, 0).cost(usage(p, c)).unwrap().nano());
        let exact = u128::from(prompt) * u128::from(p) + u128::from(completion) * u128::from(c);
        prop_assert!(cost * 1_000_000 >= exact);
        prop_assert!(cost * 1_000_000 < exact + 1_000_000);
    }

    #[test]
    fn more_tokens_never_cost_less(p in 0..100_000u64, c in 0..100_000u64, more in 0..1_000u64) {
        let prices = prices(123_456, 7_654_321, 10);
        prop_assert!(prices.cost(usage(p, c)).unwrap() <= prices.cost(usage(p + more, c + more)).unwrap());
    }
}
