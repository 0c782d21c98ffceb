//! The CUDA backend on a driver in software: the same tokens and log-probabilities as the CPU, to the bit, and what it
//! says where there is no card to use.

mod faults;
mod loading;
#[path = "../support/machine.rs"]
mod machine;
mod parity;
mod pipeline;
mod recording;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tiny.rs"]
mod tiny;

use std::process::Command;

use gpu_agent::backend::cuda::ops::CudaOps;
use gpu_agent::backend::cuda::selftest::SAMPLINGS;
use gpu_agent::backend::ops::Ops;
use gpu_agent::backend::{Backend, Batch, Budget, ForwardError, SampleSpec, SeenToken};
use gpu_agent::model::architectures;
use gpu_agent::model::decoder::{Decoder, Loaded};
use gpu_agent::weights::file::ModelFile;

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

/// Tokens of each prompt's completion with the bits of their log-probabilities: all prompts at once, then one token
/// each.
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
        let seen: Vec<SeenToken> = (0..20)
            .map(|token| SeenToken {
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

fn token(random: &mut tiny::Random) -> u32 {
    u32::try_from(random.below(tiny::VOCABULARY)).expect("small")
}

fn model(first: usize) -> ModelFile {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::model(&folder, first)
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

/// Starts an agent that loads the model on the cards of this machine, and then ends as it has no certificate: what it
/// said.
fn serve(file: &ModelFile, more: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
        .args(["serve", "--backend", "CUDA", "--model-name", "demo", "--model"])
        .arg(file.path())
        .args(["--model-sha256", &hex::encode(file.sha256().expect("readable"))])
        .args([
            "--client-ca",
            "-",
            "--token",
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

/// One layer on each card of the machine.
fn pipeline(file: &ModelFile) -> Decoder<CudaOps> {
    let cards = CudaOps::open_all()
        .expect("cards")
        .0
        .into_iter()
        .map(|card| (card, 1));
    let spec = architectures::read(file).expect("a supported architecture");
    let loaded = Loaded::load_split(file, spec, cards.collect()).expect("the model loads");
    loaded.reserve(budget()).expect("memory for a cache")
}
