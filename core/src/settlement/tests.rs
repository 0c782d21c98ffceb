mod days;
mod decide;
mod history;
mod outlook;
mod sender;
mod sweep;

use super::{Ended, FeeRatio, KEEP_NEWEST, KEEP_SECONDS, REDEEM_FEE, superfluous};
use cocoon_api::NanoTon;

pub(super) fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

#[test]
fn fee_ratios_are_decimals_between_zero_and_one() {
    for text in [
        "",
        "1.1",
        "-0.1",
        "0.0000001",
        ".5",
        "0.",
        "1e-2",
        "2",
        "0x1",
        "1.000001",
    ] {
        assert_eq!(FeeRatio::parse(text), None, "{text}");
    }
    let percent = FeeRatio::parse("0.01").unwrap();
    assert!(percent.allows(nano(1), nano(100)));
    assert!(!percent.allows(nano(1), nano(99)));
    assert_eq!(percent.least(REDEEM_FEE), Some(nano(150_000_000)));
    assert_eq!(FeeRatio::parse("0").unwrap().least(nano(1)), None);
    assert_eq!(FeeRatio::parse("0.3").unwrap().least(nano(1)), Some(nano(4)));
    assert_eq!(FeeRatio::parse("1"), Some(FeeRatio::ONE));
    assert_eq!(FeeRatio::parse("1.000000"), Some(FeeRatio::ONE));
    assert!(FeeRatio::ONE.allows(
        NanoTon::from_nano(i64::MAX as u64).unwrap(),
        nano(i64::MAX as u64)
    ));
}

#[test]
fn only_settlements_that_are_both_old_and_many_are_superfluous() {
    let ended = |count: usize| -> Vec<Ended> {
        (0..count)
            .map(|index| Ended {
                name: format!("s-{index:03}"),
                at: i64::try_from(index).unwrap(),
            })
            .collect()
    };
    assert!(superfluous(ended(KEEP_NEWEST), KEEP_SECONDS * 2).is_empty());
    assert!(superfluous(ended(KEEP_NEWEST + 2), 10).is_empty());
    assert_eq!(
        superfluous(ended(KEEP_NEWEST + 2), KEEP_SECONDS * 2),
        ["s-001", "s-000"]
    );
}
