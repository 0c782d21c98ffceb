//! The CUDA backend on a driver in software: the same tokens and log-probabilities as the CPU, to the bit, and what it says
//! where there is no card to use.

#[path = "support/machine.rs"]
mod machine;
mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::Arc;

use cocoon_api::agent::GpuFault;
use gpu_agent::backend::cpu::{CpuOps, Precision};
use gpu_agent::backend::cuda::device::Device;
use gpu_agent::backend::cuda::error::OpenError;
use gpu_agent::backend::cuda::modules::Dot;
use gpu_agent::backend::cuda::ops::CudaOps;
use gpu_agent::backend::ops::Ops;
use gpu_agent::backend::{
    Backend, Batch, Budget, DeviceFault, ForwardError, Limits, Penalties, ReserveError, SampleSpec, Sampling,
    Seen,
};
use gpu_agent::engine::{Engine, EngineFault, Event, Failure, GenerationRequest, Health, Options};
use gpu_agent::model::architectures;
use gpu_agent::model::decoder::plan::{Card, Demand, Plan};
use gpu_agent::model::decoder::{Decoder, Loaded, Needs};
use gpu_agent::model::tokenizer::Tokenizer;
use gpu_agent::weights::file::ModelFile;
use machine::machine;

/// Prompts: one token, more than a chunk of positions, and a few.
const PROMPTS: [usize; 3] = [1, 70, 9];
/// Tokens that follow each.
const TOKENS: usize = 4;

fn budget() -> Budget {
    Budget {
        bytes: u64::MAX,
        rows: 96,
        outputs: PROMPTS.len(),
        context: 128,
        cache_tokens: 128 * PROMPTS.len(),
    }
}

fn decoder<O: Ops>(file: &ModelFile, ops: O) -> Decoder<O> {
    let spec = architectures::read(file).expect("a supported architecture");
    let loaded = Loaded::load(file, spec, ops).expect("the model loads");
    loaded.reserve(budget()).expect("memory for a cache")
}

/// Tokens of each prompt's completion with the bits of their log-probabilities: all prompts at once, then one token each.
fn generate(backend: &mut dyn Backend) -> Result<Vec<Vec<(u32, u32)>>, ForwardError> {
    let mut random = tiny::Random(5);
    let mut texts: Vec<Vec<u32>> = PROMPTS
        .iter()
        .map(|length| (0..*length).map(|_| token(&mut random)).collect())
        .collect();
    let blocks = backend.limits().blocks_for(128);
    let mut results = vec![Vec::new(); PROMPTS.len()];
    let mut cached = [0; PROMPTS.len()];
    for index in 0..TOKENS as u64 {
        let mut batch = Batch::new(backend.limits().block_tokens);
        let seen: Vec<Seen> = (0..20)
            .map(|token| Seen {
                token,
                completion: token % 2,
            })
            .collect();
        let mut specs = Vec::new();
        for (sequence, text) in texts.iter().enumerate() {
            // Blocks of the sequences alternate, from the last one of the cache down.
            let last = blocks * PROMPTS.len() - 1 - sequence;
            let table: Vec<u32> = (0..blocks)
                .map(|block| u32::try_from(last - block * PROMPTS.len()).expect("small"))
                .collect();
            let row = batch.push(&text[cached[sequence]..], cached[sequence], &table);
            batch.want(row + text.len() - cached[sequence] - 1);
            cached[sequence] = text.len();
            specs.push(SampleSpec {
                sampling: SAMPLINGS[sequence],
                index,
                seen: &seen,
                allowed: None,
            });
        }
        let sampled = backend.step(&batch, &specs)?;
        for (sequence, (token, logprob)) in sampled.ids.iter().zip(&sampled.logprobs).enumerate() {
            texts[sequence].push(*token);
            results[sequence].push((*token, logprob.to_bits()));
        }
    }
    Ok(results)
}

const SAMPLINGS: [Sampling; PROMPTS.len()] = [
    Sampling::GREEDY,
    Sampling {
        temperature: 1.0,
        top_p: 0.9,
        seed: 3,
        ..Sampling::GREEDY
    },
    Sampling {
        temperature: 0.8,
        top_k: 20,
        min_p: 0.01,
        penalties: Penalties {
            repetition: 1.1,
            presence: 0.2,
            frequency: 0.1,
        },
        seed: 4,
        ..Sampling::GREEDY
    },
];

fn token(random: &mut tiny::Random) -> u32 {
    u32::try_from(random.below(tiny::VOCABULARY)).expect("small")
}

fn model(first: usize) -> ModelFile {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::model(&folder, first)
}

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
            let cards = CudaOps::open_all().expect("two cards");
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
fn a_file_is_verified_in_the_pass_that_loads_it() {
    machine!("a_file_is_verified_in_the_pass_that_loads_it").run(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let known = tiny::model(&folder, 4);
        let length = std::fs::metadata(known.path()).expect("a file").len();
        let digest = known.sha256().expect("readable");
        let before = bytes_read();
        let file = ModelFile::open_unverified(known.path()).expect("a valid file");
        let spec = architectures::read(&file).expect("a supported architecture");
        let cards = CudaOps::open_all().expect("a card");
        Loaded::load_replicas(&file, &spec, cards).expect("the model loads");
        file.verify(digest).expect("the file's digest");
        let read = bytes_read() - before;
        assert!(read < length + length / 10, "{read} of {length}");
        let error = file.verify([7; 32]).expect_err("another digest");
        assert!(error.to_string().contains("not the expected 0707"), "{error}");
    });
}

/// Bytes that this process has read from files, as `/proc/self/io` counts them (proc(5)).
fn bytes_read() -> u64 {
    number_of("/proc/self/io", "rchar:")
}

/// A number in a file of the kernel's.
fn number_of(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).expect("a file of the kernel's");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("a number").parse().expect("a number")
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
            let plan = Plan::new(&needs, &cards, demand).expect("it fits");
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

/// Starts an agent that loads the model on the cards of this machine, and then ends as it has no certificate: what it
/// said.
fn serve(file: &ModelFile, more: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
        .args(["serve", "--backend", "CUDA", "--model-name", "demo", "--model"])
        .arg(file.path())
        .args([
            "--model-sha256",
            &hex::encode(file.sha256().expect("readable")),
            "--tls-cert",
            "-",
            "--tls-key",
            "-",
        ])
        .args([
            "--client-ca",
            "-",
            "--listen",
            "127.0.0.1:0",
            "--probe-listen",
            "127.0.0.1:0",
        ])
        .args(more)
        .output()
        .expect("the agent starts");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
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
                "GPU 0 (NVIDIA GeForce RTX 3090): layers 1 to 2, ",
                "GPU 1 (NVIDIA GeForce RTX 3090): layers 1 to 2, ",
                " of keys and values for 64 tokens, ",
                "expected_seconds",
                "link_megabytes_per_second",
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

/// One layer on each card of the machine.
fn pipeline(file: &ModelFile) -> Decoder<CudaOps> {
    let cards = CudaOps::open_all()
        .expect("cards")
        .into_iter()
        .map(|card| (card, 1));
    let spec = architectures::read(file).expect("a supported architecture");
    let loaded = Loaded::load_split(file, spec, cards.collect()).expect("the model loads");
    loaded.reserve(budget()).expect("memory for a cache")
}

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
        let mut seen: [Vec<Seen>; 2] = Default::default();
        for (sequence, text) in texts.iter().enumerate() {
            let table: Vec<u32> = (0..8).map(|block| 2 * block + u32::from(sequence == 0)).collect();
            let row = batch.push(&text[position..], position, &table);
            batch.want(row);
            let mut tokens = text.clone();
            tokens.sort_unstable();
            tokens.dedup();
            seen[sequence].extend(tokens.iter().map(|token| Seen {
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

#[test]
fn steps_that_repeat_are_recorded_once_and_replayed_with_the_same_bits() {
    for cards in ["rtx-3090", "rtx-3090, p104-100"] {
        machine!("steps_that_repeat_are_recorded_once_and_replayed_with_the_same_bits")
            .cards(cards)
            .run(|| {
                let file = model(0);
                let cpu = CpuOps::new(Precision::Fast, NonZeroUsize::MIN).expect("no thread is needed");
                let expected = decode(&mut decoder(&file, cpu));
                let got = if CudaOps::open_all().expect("cards").len() == 2 {
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

#[test]
fn an_agent_spreads_layers_over_cards_that_are_too_small_for_all_of_them() {
    machine!("an_agent_spreads_layers_over_cards_that_are_too_small_for_all_of_them")
        .cards("rtx-3090:memory=11MiB, rtx-3090:memory=11MiB")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = tiny::model_of(&folder, 0, 24);
            let said = serve(&file, &["--context-length", "64", "--max-sequences", "1"]);
            for words in [
                "GPU 0 (NVIDIA GeForce RTX 3090): layers 1 to 1",
                " to 24, ",
                "\"spread\":\"Layers\"",
                "model loaded",
            ] {
                assert!(said.contains(words), "{words}: {said}");
            }
        });
}

#[test]
fn a_card_whose_memory_another_process_holds_says_how_much() {
    machine!("a_card_whose_memory_another_process_holds_says_how_much")
        .cards("rtx-3090:memory=64MiB")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = tiny::model(&folder, 0);
            let card = Device::open(0).expect("a card");
            let held = card.allocate(62 << 20, "a test").expect("memory");
            let said = serve(&file, &["--context-length", "64", "--max-sequences", "1"]);
            for words in [
                "error: GpuMemoryTaken: the model does not fit the memory",
                "MiB free of 64.0 MiB, since other processes hold 62.0 MiB of it",
            ] {
                assert!(said.contains(words), "{words}: {said}");
            }
            drop(held);
        });
}

#[test]
fn an_agent_whose_card_breaks_while_it_starts_says_how() {
    for (broken, word) in [
        ("ecc-after=9", "DeviceEccError"),
        ("lost-after=9", "DeviceLost"),
        ("cc=5.2", "GpuTooOld"),
    ] {
        machine!("an_agent_whose_card_breaks_while_it_starts_says_how")
            .cards(&format!("p104-100:{broken}"))
            .set("GPU_AGENT_TEST_WORD", word)
            .run(|| {
                let folder = tempfile::tempdir().expect("a folder");
                let said = serve(&tiny::model(&folder, 0), &["--context-length", "64"]);
                let word = std::env::var("GPU_AGENT_TEST_WORD").expect("a word");
                let fault = GpuFault::of_last_words(&said).map(GpuFault::word);
                assert_eq!(fault, Some(word.as_str()), "{said}");
            });
    }
}

#[test]
fn a_card_that_is_lost_hands_its_requests_back_and_the_other_goes_on() {
    machine!("a_card_that_is_lost_hands_its_requests_back_and_the_other_goes_on")
        .cards("rtx-3090, p104-100:lost-after=90")
        .run(|| {
            let file = model(0);
            let spec = architectures::read(&file).expect("a supported architecture");
            let cards = CudaOps::open_all().expect("two cards");
            let loaded = Loaded::load_replicas(&file, &spec, cards).expect("the model loads");
            let backends = loaded
                .into_iter()
                .map(|loaded| Box::new(loaded.reserve(budget()).expect("memory")) as Box<dyn Backend>)
                .collect();
            let tokenizer = Arc::new(Tokenizer::read(&file).expect("a tokenizer"));
            let options = Options {
                max_sequences: 2,
                prefix_cache: false,
            };
            let engine = Engine::start_all(backends, tokenizer, options).expect("threads start");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            let ends = runtime.block_on(async {
                let mut requests = Vec::new();
                for _ in 0..4 {
                    requests.push(engine.submit(request()).await.expect("the engine runs"));
                }
                let mut ends = Vec::new();
                for mut events in requests {
                    ends.push(last(&mut events).await);
                }
                let mut after = engine.submit(request()).await.expect("one card is left");
                assert!(matches!(last(&mut after).await, Event::Finished { .. }));
                ends
            });
            let lost = Event::Failed(Failure::Engine(EngineFault::Device(DeviceFault::Lost)));
            let handed_back = ends.iter().filter(|end| **end == lost).count();
            let finished = ends.iter().filter(|end| matches!(end, Event::Finished { .. }));
            assert_eq!((handed_back, finished.count()), (2, 2), "{ends:?}");
            assert_eq!((engine.health(), engine.ended()), (Health::Serving, (1, 2)));
        });
}

fn request() -> GenerationRequest {
    GenerationRequest {
        prompt: vec![1, 2, 3],
        max_tokens: 20,
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        ignore_eos: true,
    }
}

async fn last(events: &mut tokio::sync::mpsc::UnboundedReceiver<Event>) -> Event {
    let mut last = None;
    while let Some(event) = events.recv().await {
        last = Some(event);
    }
    last.expect("an event")
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

#[test]
fn a_machine_without_a_driver_says_so() {
    machine!("a_machine_without_a_driver_says_so")
        .without_driver()
        .run(|| {
            let Err(error) = CudaOps::open(0) else {
                // A real driver stands where the loader finds it without being told.
                println!("skipped: this machine has a driver");
                return;
            };
            assert_eq!(error.to_string(), "no NVIDIA driver: libcuda.so.1 not found");
        });
}

#[test]
fn an_agent_that_is_to_serve_on_a_card_says_why_it_cannot_and_exits_with_a_status_of_its_own() {
    let digest = support::golden().file_sha256;
    let output = Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
        .args(["serve", "--backend", "CUDA", "--model-name", "demo", "--model"])
        .arg(support::model_path())
        .args(["--model-sha256", &digest, "--tls-cert", "-", "--tls-key", "-"])
        .args(["--client-ca", "-"])
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .expect("the agent starts");
    let said = String::from_utf8_lossy(&output.stderr);
    // Without a driver it is missing; with one, no card is visible.
    assert!(
        said.contains("error: NoDriver: no NVIDIA driver: libcuda.so.1 not found")
            || said.contains("error: NoVisibleGpu: there is no GPU 0"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(69), "{said}");
}

#[test]
fn a_card_that_is_not_visible_is_named() {
    for visible in ["", "0"] {
        machine!("a_card_that_is_not_visible_is_named")
            .set("CUDA_VISIBLE_DEVICES", visible)
            .run(|| {
                // The first number that the variable does not name.
                let ordinal = std::env::var("CUDA_VISIBLE_DEVICES").map_or(0, |visible| visible.len());
                let error = CudaOps::open(ordinal).err().expect("no such card");
                assert!(matches!(error, OpenError::NoDevice { .. }), "{error}");
            });
    }
}

#[test]
fn a_card_that_is_too_old_is_named() {
    machine!("a_card_that_is_too_old_is_named")
        .cards("p104-100:cc=5.2")
        .run(|| {
            let error = CudaOps::open(0).err().expect("too old");
            assert!(
                error
                    .to_string()
                    .contains("compute capability 5.2, and 6.1 is needed"),
                "{error}"
            );
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

#[test]
fn a_card_that_falls_off_its_bus_is_lost() {
    machine!("a_card_that_falls_off_its_bus_is_lost")
        .cards("rtx-3090:lost-after=40")
        .run(|| {
            let file = model(0);
            let mut backend = decoder(&file, CudaOps::open(0).expect("a card"));
            let error = loop {
                if let Err(error) = generate(&mut backend) {
                    break error;
                }
            };
            let ForwardError::Device(error) = error else {
                panic!("{error}");
            };
            assert_eq!(error.fault, DeviceFault::Lost, "{error}");
        });
}
