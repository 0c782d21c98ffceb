use proptest::prelude::*;

use super::*;
use crate::cells::Layout;

/// Mainnet in August 2026.
const OF_2026: Prices = Prices {
    flat_gas: 100,
    flat_price: 6_667,
    gas_price: 4_369_067,
    lump_price: 66_667,
    bit_price: 4_369_067,
    cell_price: 436_906_667,
};

/// Mainnet before: 400 nanoTON a unit of gas, 400,000 a message.
const BEFORE_2026: Prices = Prices {
    flat_gas: 100,
    flat_price: 40_000,
    gas_price: 26_214_400,
    lump_price: 400_000,
    bit_price: 26_214_400,
    cell_price: 2_621_440_000,
};

fn gas_cell(prices: &Prices) -> Cell {
    Layout::new()
        .uint(0xD1, 8)
        .uint(prices.flat_gas, 64)
        .uint(prices.flat_price, 64)
        .uint(0xDE, 8)
        .uint(prices.gas_price, 64)
        .build()
}

fn forward_cell(prices: &Prices) -> Cell {
    Layout::new()
        .uint(0xEA, 8)
        .uint(prices.lump_price, 64)
        .uint(prices.bit_price, 64)
        .uint(prices.cell_price, 64)
        .build()
}

#[test]
fn the_parameters_are_read() {
    for prices in [OF_2026, BEFORE_2026] {
        assert_eq!(
            Prices::parse(&gas_cell(&prices), &forward_cell(&prices)).expect("reads"),
            prices
        );
    }
    let no_flat = Layout::new().uint(0xDD, 8).uint(7, 64).build();
    let read = Prices::parse(&no_flat, &forward_cell(&OF_2026)).expect("reads");
    assert_eq!((read.flat_gas, read.flat_price, read.gas_price), (0, 0, 7));
    Prices::parse(&forward_cell(&OF_2026), &forward_cell(&OF_2026)).expect_err("another parameter");
    Prices::parse(&gas_cell(&OF_2026), &gas_cell(&OF_2026)).expect_err("another parameter");
}

#[test]
fn the_fee_follows_the_prices_and_stops_at_its_bound() {
    let fee = |prices: Prices| prices.redeem_fee(ClaimedBy::Payee).map(NanoTon::nano);
    // 853,336 of gas, 200,001 for three messages, 320,001 for what lies beyond their roots.
    assert_eq!(fee(OF_2026), Ok(1_373_338));
    assert_eq!(fee(BEFORE_2026), Ok(8_240_000), "six times as much");
    let dearer = Prices {
        gas_price: 2 * BEFORE_2026.gas_price,
        ..BEFORE_2026
    };
    assert_eq!(dearer.redeem_fee(ClaimedBy::Payee), Err(TooExpensive));
    // 2,000 more of gas, and one more message.
    let apart = OF_2026.redeem_fee(ClaimedBy::Claimer).map(NanoTon::nano);
    assert_eq!(apart, Ok(1_373_338 + 133_333 + 66_667));
}

proptest! {
    #[test]
    fn no_prices_overflow_and_none_go_beyond_the_bound(numbers: [u64; 6]) {
        let [flat_gas, flat_price, gas_price, lump_price, bit_price, cell_price] = numbers;
        let prices = Prices { flat_gas, flat_price, gas_price, lump_price, bit_price, cell_price };
        for by in [ClaimedBy::Payee, ClaimedBy::Claimer] {
            if let Ok(fee) = prices.redeem_fee(by) {
                prop_assert!(fee <= MAX_REDEEM_FEE);
            }
        }
    }

    #[test]
    fn no_bytes_make_reading_them_panic(gas in proptest::collection::vec(any::<u8>(), 0..40), forward in proptest::collection::vec(any::<u8>(), 0..40), tagged: bool) {
        let cell = |tag: &[u8], bytes: &[u8]| Layout::new().bytes(if tagged { tag } else { &[] }).bytes(bytes).build();
        let _ = Prices::parse(&cell(&[0xD1], &gas), &cell(&[0xEA], &forward));
    }
}
