//! Steps of decoding that are recorded once and replayed.

use std::num::NonZeroUsize;

use gpu_agent::backend::cpu::{CpuOps, Precision};
use gpu_agent::backend::cuda::ops::CudaOps;
use gpu_agent::backend::cuda::selftest::SAMPLINGS;
use gpu_agent::backend::{Backend, Batch, SampleSpec, SeenToken};

use crate::machine::machine;
use crate::{decoder, model, pipeline, tiny};

/// Steps of the decoding below: past the end of a chunk of positions.
const STEPS: usize = 70;

struct Step {
    /// Tokens, with the bits of their log-probabilities.
    chosen: Vec<(u32, u32)>,
    /// Kernels until then: those that were launched one by one, and those of graphs.
    launches: [usize; 2],
}

/// Decodes two sequences side by side, with penalties on ever more tokens.
fn decode(backend: &mut dyn Backend) -> Vec<Step> {
    let mut texts = [vec![3], vec![4]];
    let mut found = Vec::new();
    for position in 0..STEPS {
        let mut batch = Batch::new(backend.limits().block_tokens);
        let mut seen: [Vec<SeenToken>; 2] = Default::default();
        for (sequence, text) in texts.iter().enumerate() {
            let table: Vec<u32> = (0..8).map(|block| 2 * block + u32::from(sequence == 0)).collect();
            let row = batch.push(&text[position..], position, &table);
            batch.want(row);
            let mut tokens = text.clone();
            tokens.sort_unstable();
            tokens.dedup();
            seen[sequence].extend(tokens.iter().map(|token| SeenToken {
                token: *token,
                completion: 1,
            }));
        }
        let specs: Vec<SampleSpec<'_>> = seen
            .iter()
            .zip(&SAMPLINGS[1..])
            .map(|(seen, sampling)| SampleSpec {
                sampling: *sampling,
                index: position as u64,
                seen,
                allowed: None,
            })
            .collect();
        let sampled = backend.step(&batch, &specs).expect("a valid batch");
        for (text, token) in texts.iter_mut().zip(&sampled.ids) {
            text.push(*token);
        }
        let bits = sampled.logprobs.iter().map(|logprob| logprob.to_bits());
        found.push(Step {
            chosen: sampled.ids.iter().copied().zip(bits).collect(),
            launches: launches(),
        });
    }
    found
}

/// Kernels that ran on the machine's cards: those that were launched one by one, and those of graphs.
fn launches() -> [usize; 2] {
    let log = std::env::var_os("TESTBED_CUDA_LOG").expect("a log");
    let text = std::fs::read_to_string(log).unwrap_or_default();
    [false, true].map(|graph| text.matches(&format!("\"graph\":{graph}")).count())
}

/// Bytes that went from cards to the host.
fn downloaded() -> u64 {
    let log = std::env::var_os("TESTBED_CUDA_LOG").expect("a log");
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let is_download = |event: &serde_json::Value| {
        let end = |name: &str| event[name].as_str().is_some_and(|end| end.starts_with("device"));
        event["event"] == "copy" && end("from") && !end("to")
    };
    events
        .filter(is_download)
        .map(|event| event["bytes"].as_u64().expect("a number"))
        .sum()
}

#[test]
fn only_what_was_chosen_crosses_the_bus() {
    machine!("only_what_was_chosen_crosses_the_bus").run(|| {
        let mut backend = decoder(&model(0), CudaOps::open(0).expect("a card"));
        let before = downloaded();
        decode(&mut backend);
        let a_step = (downloaded() - before) / STEPS as u64;
        // Two samples of 32 bytes, and a word for each row that may be no finite number: the logits are 4 bytes a
        // token.
        let logits = 2 * 4 * tiny::VOCABULARY as u64;
        assert!((1..=256).contains(&a_step), "{a_step} bytes a step");
        assert!(a_step < logits / 4, "{a_step} bytes of {logits}");
    });
}

#[test]
fn steps_that_repeat_are_recorded_once_and_replayed_with_the_same_bits() {
    for cards in ["rtx-3090", "rtx-3090, p104-100"] {
        machine!("steps_that_repeat_are_recorded_once_and_replayed_with_the_same_bits")
            .cards(cards)
            .run(|| {
                let file = model(0);
                let cpu = CpuOps::new(Precision::Fast, NonZeroUsize::MIN).expect("no thread is needed");
                let expected = decode(&mut decoder(&file, cpu));
                let got = if CudaOps::open_all().expect("cards").0.len() == 2 {
                    decode(&mut pipeline(&file))
                } else {
                    decode(&mut decoder(&file, CudaOps::open(0).expect("a card")))
                };
                let tokens = |steps: &[Step]| {
                    let chosen = steps.iter().map(|step| step.chosen.clone());
                    chosen.collect::<Vec<_>>()
                };
                assert_eq!(tokens(&got), tokens(&expected));
                let by_graphs = got[1].launches[1] - got[0].launches[1];
                assert!(by_graphs > 20, "the second step has {by_graphs} kernels");
                for step in 1..STEPS {
                    let [alone, graph] =
                        [0, 1].map(|kind| got[step].launches[kind] - got[step - 1].launches[kind]);
                    // The first step with a second chunk of positions is of another kind.
                    if step == 64 {
                        assert!(alone > 20 && graph == 0, "step {step}: {alone} and {graph}");
                    } else {
                        assert_eq!([alone, graph], [0, by_graphs], "step {step}");
                    }
                }
            });
    }
}
