//! Tokens and log-probabilities of cards, alone and together: those of the CPU, to the bit.

use std::num::NonZeroUsize;

use gpu_agent::backend::cpu::{CpuOps, Precision};
use gpu_agent::backend::cuda::modules::Dot;
use gpu_agent::backend::cuda::ops::CudaOps;
use gpu_agent::backend::{Backend, Batch, SampleSpec};
use gpu_agent::model::architectures;
use gpu_agent::model::decoder::Loaded;

use crate::machine::machine;
use crate::{budget, bytes_read, decoder, generate, model, pipeline, support, tiny};

fn same_as_the_cpu(first: usize, dot: Dot, tensor: bool) {
    let file = model(first);
    let cpu = CpuOps::new(Precision::Fast, NonZeroUsize::MIN).expect("no thread is needed");
    let expected = generate(&mut decoder(&file, cpu)).expect("the CPU computes");
    let mut card = CudaOps::open(0).expect("a card");
    card.use_units(dot, tensor);
    let got = generate(&mut decoder(&file, card)).expect("the card computes");
    assert_eq!(got, expected, "{dot:?}, tensor cores: {tensor}");
}

#[test]
fn a_card_with_tensor_cores_gives_the_bits_of_the_cpu() {
    machine!("a_card_with_tensor_cores_gives_the_bits_of_the_cpu").run(|| {
        // Three beginnings put every type in several places.
        for first in [0, 4, 8] {
            same_as_the_cpu(first, Dot::Dp4a, true);
        }
    });
}

#[test]
fn a_mining_card_without_them_gives_the_bits_of_the_cpu() {
    machine!("a_mining_card_without_them_gives_the_bits_of_the_cpu")
        .cards("p104-100")
        .run(|| {
            for dot in [Dot::Dp4a, Dot::Dp2a, Dot::Mad] {
                same_as_the_cpu(4, dot, true);
            }
        });
}

#[test]
fn two_cards_with_half_of_the_layers_each_give_the_bits_of_the_cpu() {
    machine!("two_cards_with_half_of_the_layers_each_give_the_bits_of_the_cpu")
        .cards("rtx-3090, p104-100")
        .run(|| {
            let file = model(0);
            let cpu = CpuOps::new(Precision::Fast, NonZeroUsize::MIN).expect("no thread is needed");
            let expected = generate(&mut decoder(&file, cpu)).expect("the CPU computes");
            let cards = [0, 1].map(|ordinal| (CudaOps::open(ordinal).expect("a card"), 1));
            let spec = architectures::read(&file).expect("a supported architecture");
            let loaded = Loaded::load_split(&file, spec, cards.into()).expect("the model loads");
            let mut backend = loaded.reserve(budget()).expect("memory for a cache");
            assert_eq!(generate(&mut backend).expect("the cards compute"), expected);
        });
}

#[test]
fn each_of_two_cards_with_the_whole_model_gives_the_bits_of_the_cpu_and_the_file_is_read_once() {
    machine!("each_of_two_cards_with_the_whole_model_gives_the_bits_of_the_cpu_and_the_file_is_read_once")
        .cards("rtx-3090, p104-100")
        .run(|| {
            let file = model(4);
            let cpu = CpuOps::new(Precision::Fast, NonZeroUsize::MIN).expect("no thread is needed");
            let expected = generate(&mut decoder(&file, cpu)).expect("the CPU computes");
            let spec = architectures::read(&file).expect("a supported architecture");
            let cards = CudaOps::open_all().expect("two cards").0;
            let before = bytes_read();
            let loaded = Loaded::load_replicas(&file, &spec, cards).expect("the model loads");
            let weights: u64 = file.header().tensors.values().map(|info| info.length).sum();
            let read = bytes_read() - before;
            assert!(
                (weights..weights + weights / 10).contains(&read),
                "{read} of {weights}"
            );
            assert_eq!(loaded.len(), 2);
            for loaded in loaded {
                let mut backend = loaded.reserve(budget()).expect("memory for a cache");
                assert_eq!(generate(&mut backend).expect("the card computes"), expected);
            }
        });
}

#[test]
fn three_cards_with_a_layer_each_give_the_bits_of_the_cpu() {
    machine!("three_cards_with_a_layer_each_give_the_bits_of_the_cpu")
        .cards("rtx-3090, p104-100, cmp-50hx")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = tiny::model_of(&folder, 4, 3);
            let cpu = CpuOps::new(Precision::Fast, NonZeroUsize::MIN).expect("no thread is needed");
            let expected = generate(&mut decoder(&file, cpu)).expect("the CPU computes");
            let mut backend = pipeline(&file);
            assert_eq!(generate(&mut backend).expect("the cards compute"), expected);
        });
}

#[test]
fn the_demo_model_gives_the_bits_of_the_cpu() {
    machine!("the_demo_model_gives_the_bits_of_the_cpu").run(|| {
        let file = support::model_file();
        let cpu = CpuOps::new(Precision::Fast, NonZeroUsize::MIN).expect("no thread is needed");
        let expected = continue_text(&mut decoder(&file, cpu));
        let card = CudaOps::open(0).expect("a card");
        assert_eq!(continue_text(&mut decoder(&file, card)), expected);
    });
}

/// A few tokens after the beginning of a chat.
fn continue_text(backend: &mut dyn Backend) -> Vec<(u32, u32)> {
    let mut text = vec![1, 9690, 198, 2683, 359, 253];
    let mut cached = 0;
    let mut found = Vec::new();
    for _ in 0..2 {
        let mut batch = Batch::new(backend.limits().block_tokens);
        let row = batch.push(&text[cached..], cached, &[1]);
        batch.want(row + text.len() - cached - 1);
        cached = text.len();
        let sampled = backend
            .step(&batch, &[SampleSpec::GREEDY])
            .expect("a valid batch");
        text.push(sampled.ids[0]);
        found.push((sampled.ids[0], sampled.logprobs[0].to_bits()));
    }
    found
}
