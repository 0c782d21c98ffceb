use super::*;
use crate::{Classes, Traffic};

#[test]
fn memory_bounds_a_launch_that_moves_much_and_does_little() {
    let counters = Counters {
        blocks: 1_000,
        instructions: 1_000,
        classes: Classes {
            global: 1_000,
            ..Classes::default()
        },
        global_loads: Traffic {
            requests: 1_000,
            sectors: 936_000_000 / 32,
            bytes: 936_000_000,
        },
        ..Counters::default()
    };
    let estimate = Card::named("rtx 3090").expect("a table").estimate(&counters);
    assert_eq!(estimate.bound, "memory");
    assert!((estimate.microseconds - 1_000.0).abs() < 1.0, "{estimate:?}");
    assert!(estimate.is_estimate);
}

#[test]
fn fused_operations_cost_a_mining_card_what_its_source_says() {
    let work = |classes| Counters {
        blocks: 10_000,
        instructions: 2_000_000,
        classes,
        ..Counters::default()
    };
    let fused = work(Classes {
        fused: 1_000_000,
        ..Classes::default()
    });
    let apart = work(Classes {
        single: 2_000_000,
        ..Classes::default()
    });
    let ratio = |name: &str| {
        let card = Card::named(name).expect("a table");
        card.estimate(&fused).instructions / card.estimate(&apart).instructions
    };
    assert!(ratio("CMP 170HX") > 10.0 && ratio("CMP 50HX") > 5.0);
    assert!(ratio("H100") <= 1.0);
}

#[test]
fn an_estimate_says_in_json_that_it_is_one() {
    let estimate = CARDS[0].estimate(&Counters::default());
    let json = serde_json::to_value(&estimate).expect("plain data");
    assert_eq!(json["is_estimate"], true);
}
