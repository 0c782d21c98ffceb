use std::ops::Range;

use cocoon_api::agent::GpuFault;
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// Ten layers of 100 MiB, 50 MiB of embeddings, as much of output; 1 MiB for each block of a layer.
fn needs(demand: Demand) -> Needs {
    Needs {
        layers: vec![100 * MIB; 10],
        embedding: 50 * MIB,
        head: 50 * MIB,
        tied: false,
        working: demand.rows as u64 * MIB,
        logits: demand.sequences as u64 * MIB,
        hop: 2 * MIB,
        block: MIB,
        tables: vec![0; 10],
        table_token: vec![64],
        block_tokens: 16,
    }
}

const DEMAND: Demand = Demand {
    rows: 10,
    sequences: 4,
    context: 160,
};

fn cards(free: &[u64]) -> Vec<Card> {
    let card = |free: &u64| Card {
        name: "a card".to_owned(),
        free: free * MIB,
        total: free * MIB,
    };
    free.iter().map(card).collect()
}

/// What one card must have for all of it with one context: 1,100 of weights, 100 of keys and values, and the rest; and
/// a 64th that stays free.
const WHOLE: u64 = 1240;

#[test]
fn a_model_that_fits_every_card_is_on_every_card() {
    let plan = MemoryPlan::new(&needs, &cards(&[2000, 2000]), DEMAND).expect("it fits");
    assert_eq!(plan.spread, Spread::Replicas);
    assert_eq!((plan.demand.sequences, plan.cards.len()), (2, 2));
    // Two sequences of ten blocks each.
    assert_eq!(plan.cards[1].blocks, 20);
    assert_eq!(plan.cards[1].cache, 200 * MIB);
    assert_eq!(plan.cards[1].weights, 1100 * MIB);
}

#[test]
fn a_card_that_is_too_small_for_a_replica_is_left_out() {
    let plan = MemoryPlan::new(&needs, &cards(&[2000, 500]), DEMAND).expect("it fits the first");
    assert_eq!(plan.cards.len(), 1);
    assert_eq!((plan.cards[0].card, plan.demand.sequences), (0, 4));
}

#[test]
fn a_cache_that_does_not_fit_whole_is_as_large_as_it_can_be() {
    let plan = MemoryPlan::new(&needs, &cards(&[WHOLE + 60]), DEMAND).expect("it fits");
    assert!((11..20).contains(&plan.cards[0].blocks), "{:?}", plan.cards[0]);
}

#[test]
fn layers_are_spread_over_cards_that_are_too_small_for_all_of_them() {
    let plan = MemoryPlan::new(&needs, &cards(&[800, 800]), DEMAND).expect("it fits both together");
    assert_eq!(plan.spread, Spread::Layers);
    let ranges: Vec<Range<usize>> = plan.cards.iter().map(|card| card.layers.clone()).collect();
    assert_eq!(ranges, [0..5, 5..10], "as evenly as layers allow");
    assert_eq!(plan.cards[0].weights, 550 * MIB);
    assert_eq!(plan.cards[0].blocks, plan.cards[1].blocks);
}

#[test]
fn a_small_card_gets_fewer_layers() {
    let plan = MemoryPlan::new(&needs, &cards(&[400, 1100]), DEMAND).expect("it fits both together");
    assert!(plan.cards[0].layers.len() < plan.cards[1].layers.len());
}

#[test]
fn a_tied_table_of_embeddings_is_on_the_last_card_too() {
    let tied = |demand| Needs {
        tied: true,
        head: 0,
        ..needs(demand)
    };
    let plan = MemoryPlan::new(&tied, &cards(&[800, 800]), DEMAND).expect("it fits both together");
    let weights: u64 = plan.cards.iter().map(|card| card.weights).sum();
    assert_eq!(weights, 1100 * MIB);
    let one = MemoryPlan::new(&tied, &cards(&[2000]), DEMAND).expect("it fits");
    assert_eq!(one.cards[0].weights, 1050 * MIB);
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let error = MemoryPlan::new(&needs, &cards(&[WHOLE - 10]), DEMAND).expect_err("too small");
    assert!(error.fitting_context > 0 && error.fitting_context < DEMAND.context);
    assert_eq!(error.fitting_context % 16, 0);
    let shorter = Demand {
        context: error.fitting_context,
        ..DEMAND
    };
    MemoryPlan::new(&needs, &cards(&[WHOLE - 10]), shorter).expect("what is said to fit fits");
    let longer = Demand {
        context: error.fitting_context + 16,
        ..DEMAND
    };
    MemoryPlan::new(&needs, &cards(&[WHOLE - 10]), longer).expect_err("and nothing longer does");
    assert_eq!(error.fitting_cards, 2);
    let words = error.to_string();
    for said in ["a context of ", "smaller quantisation", "2 such GPUs", "1.1 GiB"] {
        assert!(words.contains(said), "{said}: {words}");
    }
}

#[test]
fn a_card_that_another_process_uses_says_how_much_of_it() {
    let mut taken = cards(&[8000]);
    taken[0].free = 1000 * MIB;
    let error = MemoryPlan::new(&needs, &taken, DEMAND).expect_err("too little is free");
    assert_eq!(error.fault(), GpuFault::GpuMemoryTaken);
    let words = error.to_string();
    assert!(
        words.contains("1000.0 MiB free of 7.8 GiB, since other processes hold 6.8 GiB"),
        "{words}"
    );
}

#[test]
fn nothing_fits_a_machine_without_memory() {
    let error = MemoryPlan::new(&needs, &cards(&[1]), DEMAND).expect_err("too small");
    assert_eq!((error.fitting_context, error.fitting_sequences), (0, 0));
    assert_eq!(error.fault(), GpuFault::GpuMemoryTooSmall);
    assert!(error.to_string().ends_with("use a smaller model"), "{error}");
}

#[test]
fn a_line_says_what_a_card_holds() {
    let cards = cards(&[2000]);
    let plan = MemoryPlan::new(&needs, &cards, DEMAND).expect("it fits");
    assert_eq!(
        plan.lines(&cards),
        [
            "a card: layers 1 to 10, 1.0 GiB of weights, 400.0 MiB of keys and values for 640 tokens, 14.0 MiB \
             of working memory; 1.4 GiB of 1.9 GiB that are free"
        ]
    );
}

proptest! {
    #[test]
    fn every_plan_fits_and_has_every_layer_once(
        free in proptest::collection::vec(0u64..2500, 1..5),
        sequences in 1usize..9,
        blocks in 1usize..40,
    ) {
        let demand = Demand { sequences, context: blocks * 16, ..DEMAND };
        let cards = cards(&free);
        let Ok(plan) = MemoryPlan::new(&needs, &cards, demand) else { return Ok(()) };
        for part in &plan.cards {
            prop_assert!(part.bytes() <= cards[part.card].usable());
            prop_assert!(part.blocks >= blocks && part.blocks <= blocks * plan.demand.sequences);
        }
        let mut next = 0;
        for part in &plan.cards {
            prop_assert!(!part.layers.is_empty());
            if plan.spread == Spread::Replicas {
                prop_assert_eq!(part.layers.clone(), 0..10);
            } else {
                prop_assert_eq!(part.layers.start, next);
                next = part.layers.end;
            }
        }
        prop_assert!(plan.spread == Spread::Replicas || next == 10);
        let all: usize = plan.cards.len() * plan.demand.sequences;
        prop_assert!(plan.spread == Spread::Layers || all >= sequences);
    }
}
