//! What is planned, what is read, and what the host holds meanwhile.

use gpu_agent::backend::cuda::ops::CudaOps;
use gpu_agent::backend::ops::Ops as _;
use gpu_agent::backend::{Backend as _, Budget, Limits, ReserveError};
use gpu_agent::model::architectures;
use gpu_agent::model::decoder::plan::{Card, Demand, MemoryPlan};
use gpu_agent::model::decoder::{Loaded, Needs};
use gpu_agent::weights::file::ModelFile;

use crate::machine::machine;
use crate::{budget, bytes_read, model, number_of, serve, tiny};

#[test]
fn a_file_is_verified_in_the_pass_that_loads_it() {
    machine!("a_file_is_verified_in_the_pass_that_loads_it").run(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let known = tiny::model(&folder, 4);
        let length = std::fs::metadata(known.path()).expect("a file").len();
        let digest = known.sha256().expect("readable");
        let before = bytes_read();
        let file = ModelFile::open_unverified(known.path()).expect("a valid file");
        let spec = architectures::read(&file).expect("a supported architecture");
        let cards = CudaOps::open_all().expect("a card").0;
        Loaded::load_replicas(&file, &spec, cards).expect("the model loads");
        file.verify(digest).expect("the file's digest");
        let read = bytes_read() - before;
        assert!(read < length + length / 10, "{read} of {length}");
        let error = file.verify([7; 32]).expect_err("another digest");
        assert!(error.to_string().contains("not the expected 0707"), "{error}");
    });
}

/// Bytes of each of the three large matrices below.
const LARGE: u64 = 131_072 * 272;

#[test]
fn weights_stream_to_a_card_and_the_host_never_holds_one_matrix() {
    machine!("weights_stream_to_a_card_and_the_host_never_holds_one_matrix").run(|| {
        let folder = tempfile::tempdir().expect("a folder");
        // The rows of one of them are so long that a group of them is larger than a piece of the ring.
        let file = tiny::large(&folder, 131_072);
        let spec = architectures::read(&file).expect("a supported architecture");
        let card = CudaOps::open(0).expect("a card");
        let loaded = Loaded::load(&file, spec, card).expect("the model loads");
        // The card in software has its memory in this process, for good; what the load took on top is gone by now, but
        // for the ring.
        let status = |name| 1024 * number_of("/proc/self/status", name);
        let (peak, left) = (status("VmHWM:"), status("VmRSS:"));
        assert!(
            left > 3 * LARGE,
            "the card holds {left} bytes of three times {LARGE}"
        );
        let took = peak - left;
        println!("{took} bytes above what stays, to load {}", 3 * LARGE);
        assert!(took < LARGE / 2, "{took} bytes at once, of matrices of {LARGE}");
        drop(loaded);
    });
}

#[test]
fn what_is_planned_is_what_a_card_then_holds() {
    machine!("what_is_planned_is_what_a_card_then_holds").run(|| {
        for first in [0, 4, 8] {
            let file = model(first);
            let spec = architectures::read(&file).expect("a supported architecture");
            let card = CudaOps::open(0).expect("a card");
            let (free, total) = card.memory();
            let cards = [Card {
                name: card.name().to_owned(),
                free,
                total,
            }];
            let demand = Demand {
                rows: 96,
                sequences: 3,
                context: 128,
            };
            let needs = |demand: Demand| Needs::of(&file, &spec, &card, &limits(&card, demand));
            let plan = MemoryPlan::new(&needs, &cards, demand).expect("it fits");
            let loaded = Loaded::load(&file, spec, card).expect("the model loads");
            let backend = loaded.reserve(budget()).expect("memory for a cache");
            assert_eq!(backend.limits().blocks, plan.cards[0].blocks);
            let other = CudaOps::open(0).expect("the same card");
            let (held, planned) = (free - other.memory().0, plan.cards[0].bytes());
            // The driver rounds each of some 50 buffers up.
            assert!(
                (planned..planned + planned / 64).contains(&held),
                "{held} held, {planned} planned"
            );
        }
    });
}

fn limits(card: &CudaOps, demand: Demand) -> Limits {
    Limits {
        rows: demand.rows,
        outputs: demand.sequences,
        context: demand.context,
        blocks: 0,
        block_tokens: card.block_tokens(),
        vocabulary: tiny::VOCABULARY,
    }
}

#[test]
fn an_agent_says_what_it_plans_and_how_long_the_weights_take() {
    machine!("an_agent_says_what_it_plans_and_how_long_the_weights_take")
        .cards("rtx-3090*2")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = tiny::model(&folder, 0);
            let said = serve(&file, &["--context-length", "64", "--max-sequences", "2"]);
            for words in [
                "GPU 0 (NVIDIA GeForce RTX 3090, 0000:01:00.0): layers 1 to 2, ",
                "GPU 1 (NVIDIA GeForce RTX 3090, 0000:02:00.0): layers 1 to 2, ",
                " of keys and values for 64 tokens, ",
                "expected_seconds",
                "link_megabytes_per_second",
                "the kernels have the bits of their twins",
                "model loaded",
            ] {
                assert!(said.contains(words), "{words}: {said}");
            }
        });
}

#[test]
fn an_agent_whose_model_does_not_fit_says_what_would() {
    machine!("an_agent_whose_model_does_not_fit_says_what_would")
        .cards("rtx-3090:memory=4MiB")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = tiny::model(&folder, 0);
            let said = serve(&file, &["--context-length", "512", "--max-sequences", "8"]);
            for words in ["does not fit the memory", "what would fit: a context of "] {
                assert!(said.contains(words), "{words}: {said}");
            }
        });
}

#[test]
fn an_agent_spreads_layers_over_cards_that_are_too_small_for_all_of_them() {
    machine!("an_agent_spreads_layers_over_cards_that_are_too_small_for_all_of_them")
        .cards("rtx-3090:memory=11MiB, rtx-3090:memory=11MiB")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = tiny::model_of(&folder, 0, 24);
            let said = serve(&file, &["--context-length", "64", "--max-sequences", "1"]);
            for words in [
                "GPU 0 (NVIDIA GeForce RTX 3090, 0000:01:00.0): layers 1 to 1",
                " to 24, ",
                "\"spread\":\"Layers\"",
                "model loaded",
            ] {
                assert!(said.contains(words), "{words}: {said}");
            }
        });
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_what_would() {
    machine!("a_model_that_does_not_fit_is_refused_with_what_would")
        .cards("rtx-3090:memory=16MiB")
        .run(|| {
            let file = model(0);
            let spec = architectures::read(&file).expect("a supported architecture");
            let card = CudaOps::open(0).expect("a card");
            let loaded = Loaded::load(&file, spec, card).expect("the weights fit");
            let large = Budget {
                bytes: 1 << 16,
                context: 512,
                cache_tokens: 1 << 20,
                ..budget()
            };
            let error = loaded.reserve(large).err().expect("it does not fit");
            assert!(matches!(error, ReserveError::Budget { .. }), "{error}");
        });
}
