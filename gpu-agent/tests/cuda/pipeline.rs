//! Layers on several cards: microbatches that the cards compute at once, with the bits of the CPU.

use std::num::NonZeroUsize;
use std::sync::Arc;

use gpu_agent::backend::cpu::{CpuOps, Precision};
use gpu_agent::backend::cuda::ops::CudaOps;
use gpu_agent::backend::cuda::selftest::SAMPLINGS;
use gpu_agent::backend::ops::Ops;
use gpu_agent::backend::{Backend, Batch, Budget, DeviceFault, SampleSpec};
use gpu_agent::engine::{Engine, EngineFault, Event, Failure, GenerationRequest, Health, Options};
use gpu_agent::model::architectures;
use gpu_agent::model::decoder::{Decoder, Loaded};
use gpu_agent::model::tokenizer::Tokenizer;
use gpu_agent::weights::file::ModelFile;

use crate::faults::{last, request};
use crate::machine::machine;
use crate::{model, tiny, token};

/// New tokens of each sequence, batch after batch: one row, whole microbatches, odd ones, a sequence that microbatches
/// cut, and then one token of each of many sequences.
const BATCHES: [&[usize]; 6] = [&[1], &[16], &[3, 1, 29], &[95], &[1; 17], &[2, 1, 64]];
/// Sequences at once.
const SEQUENCES: usize = 17;

fn budget() -> Budget {
    Budget {
        bytes: u64::MAX,
        rows: 96,
        outputs: SEQUENCES,
        context: 256,
        cache_tokens: 256 * SEQUENCES,
    }
}

fn whole<O: Ops>(file: &ModelFile, ops: O) -> Decoder<O> {
    let spec = architectures::read(file).expect("a supported architecture");
    let loaded = Loaded::load(file, spec, ops).expect("the model loads");
    loaded.reserve(budget()).expect("memory for a cache")
}

fn cpu(file: &ModelFile) -> Decoder<CpuOps> {
    let ops = CpuOps::new(Precision::Fast, NonZeroUsize::MIN).expect("no thread is needed");
    whole(file, ops)
}

/// One layer on each card of the machine.
fn pipeline(file: &ModelFile) -> Decoder<CudaOps> {
    let cards = CudaOps::open_all().expect("cards").0.into_iter();
    let spec = architectures::read(file).expect("a supported architecture");
    let shares = cards.map(|card| (card, 1)).collect();
    let loaded = Loaded::load_split(file, spec, shares).expect("the model loads");
    loaded.reserve(budget()).expect("memory for a cache")
}

/// The batch that appends these numbers of random tokens to the first sequences, whose lengths it counts on. The last
/// row of each sequence is wanted.
fn next_batch(
    backend: &dyn Backend,
    added: &[usize],
    lengths: &mut [usize],
    random: &mut tiny::Random,
) -> Batch {
    let limits = backend.limits();
    let blocks = limits.blocks_for(limits.context);
    let mut batch = Batch::new(limits.block_tokens);
    for (sequence, (count, length)) in added.iter().zip(lengths).enumerate() {
        let table: Vec<u32> = (sequence * blocks..)
            .take(blocks)
            .map(|block| u32::try_from(block).expect("small"))
            .collect();
        let tokens: Vec<u32> = (0..*count).map(|_| token(random)).collect();
        let row = batch.push(&tokens, *length, &table);
        batch.want(row + count - 1);
        *length += count;
    }
    batch
}

/// Tokens with the bits of their log-probabilities, and the bits of logits, of one batch.
type Computed = (Vec<(u32, u32)>, Vec<u32>);

/// What comes of all batches in turn.
fn compute(backend: &mut dyn Backend) -> Vec<Computed> {
    let mut lengths = [0; SEQUENCES];
    let mut random = tiny::Random(11);
    let mut found = Vec::new();
    for (index, added) in BATCHES.iter().enumerate() {
        let batch = next_batch(backend, added, &mut lengths, &mut random);
        let specs: Vec<SampleSpec<'_>> = (0..added.len())
            .map(|sequence| SampleSpec {
                sampling: SAMPLINGS[sequence % SAMPLINGS.len()],
                index: index as u64,
                ..SampleSpec::GREEDY
            })
            .collect();
        let sampled = backend.step(&batch, &specs).expect("a valid batch");
        let bits = sampled.logprobs.iter().map(|logprob| logprob.to_bits());
        let chosen = sampled.ids.iter().copied().zip(bits).collect();
        // The same batch again, whole: its keys and values are written over with what they are.
        let logits = backend.logits(&batch).expect("a valid batch");
        let rows = (0..added.len()).flat_map(|row| logits.row(row).to_vec());
        found.push((chosen, rows.map(f32::to_bits).collect()));
    }
    found
}

#[test]
fn two_cards_give_the_bits_of_the_cpu_whatever_the_batch() {
    machine!("two_cards_give_the_bits_of_the_cpu_whatever_the_batch")
        .cards("rtx-3090, p104-100")
        .run(|| same_as_the_cpu(2));
}

#[test]
fn three_cards_give_the_bits_of_the_cpu_whatever_the_batch() {
    machine!("three_cards_give_the_bits_of_the_cpu_whatever_the_batch")
        .cards("rtx-3090*2, cmp-50hx")
        .run(|| same_as_the_cpu(3));
}

fn same_as_the_cpu(layers: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = tiny::model_of(&folder, 4, layers);
    let expected = compute(&mut cpu(&file));
    let got = compute(&mut pipeline(&file));
    for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert_eq!(got.0, expected.0, "tokens of batch {index}");
        assert!(got.1 == expected.1, "logits of batch {index}");
    }
}

/// What the driver was given since the log had `before` lines.
fn log_since(before: usize) -> Vec<serde_json::Value> {
    let path = std::env::var_os("TESTBED_CUDA_LOG").expect("a log");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().skip(before);
    lines
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect()
}

#[test]
fn a_card_begins_the_next_microbatch_before_anybody_waits_for_the_one_before() {
    machine!("a_card_begins_the_next_microbatch_before_anybody_waits_for_the_one_before")
        .cards("rtx-3090*2")
        .run(|| {
            let file = model(0);
            let mut backend = pipeline(&file);
            let (mut lengths, mut random) = ([0; SEQUENCES], tiny::Random(3));
            let before = log_since(0).len();
            let batch = next_batch(&backend, &[90], &mut lengths, &mut random);
            backend
                .step(&batch, &[SampleSpec::GREEDY])
                .expect("a valid batch");
            let log = log_since(before);
            let is = |line: &serde_json::Value, event: &str| line["event"] == event;
            // Kernels by card: the first one of each microbatch on the first card is the embedding.
            let launches: Vec<(i64, bool)> = log
                .iter()
                .filter(|line| is(line, "launch"))
                .map(|line| {
                    let kernel = line["kernel"].as_str().expect("a name");
                    (
                        line["device"].as_i64().expect("a number"),
                        kernel.starts_with("embed"),
                    )
                })
                .collect();
            let microbatches = launches.iter().filter(|(_, embeds)| *embeds).count();
            assert!(microbatches > 1, "{launches:?}");
            // The first card begins a microbatch behind the second one's beginning of the one before, microbatch by
            // microbatch.
            let mut turns: Vec<i64> = launches.iter().map(|(device, _)| *device).collect();
            turns.dedup();
            assert_eq!(turns, [0, 1].repeat(microbatches));
            // And nobody waited for anything before the last kernel was given.
            let last = log.iter().rposition(|line| is(line, "launch")).expect("a launch");
            let waits: Vec<usize> = (0..log.len()).filter(|index| is(&log[*index], "wait")).collect();
            assert!(waits.iter().all(|wait| *wait > last), "{waits:?}, {last}");
            assert!(!waits.is_empty(), "a result is waited for");
            // Everything that crosses a link does so by page-locked memory, which a card reads and writes by itself.
            let copies: Vec<&serde_json::Value> = log.iter().filter(|line| is(line, "copy")).collect();
            let ends = |from: &str, to: &str| {
                let same = |copy: &&&serde_json::Value| copy["from"] == from && copy["to"] == to;
                copies.iter().filter(same).count()
            };
            let pageable = |copy: &&serde_json::Value| copy["from"] == "pageable" || copy["to"] == "pageable";
            assert!(!copies.iter().any(pageable), "{copies:?}");
            // Flags of rows come back from the first card too.
            assert_eq!(ends("device 0", "page-locked"), 2 * microbatches);
            assert!(ends("page-locked", "device 1") >= 2 * microbatches);
        });
}

#[test]
fn a_lost_card_at_the_end_of_a_pipeline_hands_all_requests_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let sign = folder.path().join("lost").display().to_string();
    machine!("a_lost_card_at_the_end_of_a_pipeline_hands_all_requests_back")
        .cards(&format!("rtx-3090, p104-100:lost-when={sign}"))
        .set(SIGN, &sign)
        .run(lose_a_card);
}

#[test]
fn a_lost_card_at_the_beginning_of_a_pipeline_hands_all_requests_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let sign = folder.path().join("lost").display().to_string();
    machine!("a_lost_card_at_the_beginning_of_a_pipeline_hands_all_requests_back")
        .cards(&format!("rtx-3090:lost-when={sign}, p104-100"))
        .set(SIGN, &sign)
        .run(lose_a_card);
}

/// Names the file whose appearance is the end of a card.
const SIGN: &str = "GPU_AGENT_TEST_SIGN";

fn lose_a_card() {
    let sign = std::env::var_os(SIGN).expect("a path");
    let file = model(0);
    let tokenizer = Arc::new(Tokenizer::read(&file).expect("a tokenizer"));
    let options = Options {
        max_sequences: 4,
        prefix_cache: false,
    };
    let backend: Box<dyn Backend> = Box::new(pipeline(&file));
    let engine = Engine::start_all(vec![backend], tokenizer, options).expect("threads start");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let ends = runtime.block_on(async {
        let long = || GenerationRequest {
            max_tokens: 200,
            ..request()
        };
        let mut first = engine.submit(long()).await.expect("the engine runs");
        first.recv().await.expect("it begins");
        let mut second = engine.submit(long()).await.expect("the engine runs");
        std::fs::write(&sign, "").expect("a folder");
        [last(&mut first).await, last(&mut second).await]
    });
    let fault = EngineFault::Device(DeviceFault::Lost);
    assert_eq!(
        ends,
        [const { Event::Failed(Failure::Engine(EngineFault::Device(DeviceFault::Lost))) }; 2]
    );
    assert_eq!(engine.health(), Health::Failed(fault));
    assert_eq!(engine.backends().collect::<Vec<_>>(), [Health::Failed(fault)]);
}
