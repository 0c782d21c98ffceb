use super::*;
use crate::{backend::Sampling, engine::request::GenerationRequest};

const OPTIONS: Options = Options {
    max_sequences: 3,
    prefix_cache: false,
};

const LIMITS: Limits = Limits {
    rows: 8,
    outputs: 3,
    context: 64,
    blocks: 8,
    block_tokens: 16,
    vocabulary: 100,
};

fn sequence(id: u64, prompt: usize, max_tokens: usize) -> Sequence {
    let request = GenerationRequest {
        prompt: vec![1; prompt],
        max_tokens,
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        ignore_eos: false,
    };
    Sequence::new(SequenceId(id), request)
}

fn scheduler(sequences: impl IntoIterator<Item = Sequence>) -> Scheduler {
    let mut scheduler = Scheduler::new(LIMITS, OPTIONS);
    sequences
        .into_iter()
        .for_each(|sequence| scheduler.submit(sequence));
    scheduler
}

/// Plans a batch, checks it as a backend would, and counts it as computed.
fn step(scheduler: &mut Scheduler) -> Vec<(u64, usize, bool)> {
    let mut batch = Batch::new(LIMITS.block_tokens);
    let steps = scheduler.plan(&mut batch);
    if !steps.is_empty() {
        batch.check(&LIMITS).expect("a planned batch is valid");
    }
    for step in &steps {
        scheduler.advance(step);
    }
    steps
        .iter()
        .map(|step| (step.sequence.0, step.tokens, step.output.is_some()))
        .collect()
}

#[test]
fn a_long_prompt_is_computed_in_parts_and_sampled_after_the_last() {
    let mut scheduler = scheduler([sequence(1, 19, 4)]);
    assert_eq!(step(&mut scheduler), [(1, 8, false)]);
    assert_eq!(step(&mut scheduler), [(1, 8, false)]);
    assert_eq!(step(&mut scheduler), [(1, 3, true)]);
}

#[test]
fn prompts_share_a_batch_in_order_of_arrival() {
    let mut scheduler = scheduler([sequence(1, 3, 4), sequence(2, 9, 4)]);
    assert_eq!(step(&mut scheduler), [(1, 3, true), (2, 5, false)]);
}

#[test]
fn blocks_are_taken_as_sequences_grow() {
    let mut scheduler = scheduler([sequence(1, 2, 60), sequence(2, 2, 60), sequence(3, 2, 2)]);
    assert_eq!(step(&mut scheduler), [(1, 2, true), (2, 2, true), (3, 2, true)]);
    assert_eq!(scheduler.blocks_used(), 3);
}

#[test]
fn a_prompt_without_free_blocks_waits_until_one_ends() {
    let mut scheduler = scheduler([sequence(1, 60, 4), sequence(2, 60, 4), sequence(3, 2, 2)]);
    (0..16).for_each(|_| drop(step(&mut scheduler)));
    assert_eq!(
        (scheduler.running(), scheduler.waiting(), scheduler.blocks_used()),
        (2, 1, 8)
    );
    scheduler.remove(|id| id.0 == 1);
    assert_eq!(step(&mut scheduler), [(3, 2, true)]);
}

#[test]
fn no_more_than_the_allowed_number_runs_at_once() {
    let mut scheduler = scheduler((1..=4).map(|id| sequence(id, 1, 1)));
    assert_eq!(step(&mut scheduler).len(), 3);
    assert_eq!(scheduler.waiting(), 1);
}

#[test]
fn a_removed_sequence_frees_its_blocks_wherever_it_is() {
    let mut scheduler = scheduler((1..=4).map(|id| sequence(id, 1, 1)));
    step(&mut scheduler);
    scheduler.remove(|_| true);
    assert_eq!(
        (scheduler.running(), scheduler.waiting(), scheduler.blocks_used()),
        (0, 0, 0)
    );
}

#[test]
fn what_cannot_ever_run_does_not_fit() {
    let scheduler = scheduler([]);
    assert!(scheduler.fits(&sequence(1, 60, 4)));
    assert!(!scheduler.fits(&sequence(1, 60, 5)));
    assert!(!scheduler.fits(&sequence(1, 0, 5)));
    assert!(!scheduler.fits(&sequence(1, 5, 0)));
    assert!(!scheduler.fits(&sequence(1, 5, usize::MAX)));
}
