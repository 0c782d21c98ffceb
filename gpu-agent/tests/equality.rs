//! Tokens and their log-probabilities are the same bits on every instruction set, at every number of threads, in every
//! batch, and however a prompt is cut: models of random weights in all types, against each request alone.

#[path = "support/tiny.rs"]
mod tiny;

use std::num::NonZeroUsize;

use gpu_agent::{
    backend::{
        Backend, Batch, Budget, Penalties, SampleSpec, Sampling,
        cpu::{CpuOps, Isa, Precision},
    },
    model::{architectures, decoder::Decoder, decoder::Loaded},
    weights::file::ModelFile,
};
use sha2::{Digest as _, Sha256};
use tiny::Random;

/// Requests of a model.
const REQUESTS: usize = 24;
/// Tokens of each: three models, four machines and 24 requests make 103,680.
const TOKENS: usize = 360;
/// Longest prompt.
const LONGEST_PROMPT: usize = 150;
/// Most sequences of a batch.
const MOST_SEQUENCES: usize = 32;
/// Tokens that the scalar twin computes of each request.
const TWIN_TOKENS: usize = 12;
/// Requests that it computes.
const TWIN_REQUESTS: usize = 6;
/// SHA-256 of those tokens and their log-probabilities, of all three models in turn: the same on every processor.
const TWIN_BITS: &str = "1603cdde68ff396ae23b1d4df90bb6faa4123ade45cdfe6fe0f3b6d43e080082";

/// One request, and what it has so far.
#[derive(Debug, Clone)]
struct Request {
    sampling: Sampling,
    prompt: Vec<u32>,
    /// Tokens and the bits of their log-probabilities.
    sampled: Vec<(u32, u32)>,
    /// Tokens whose keys and values are in the cache.
    cached: usize,
    table: Vec<u32>,
}

impl Request {
    fn tokens(&self) -> Vec<u32> {
        let sampled = self.sampled.iter().map(|(token, _)| *token);
        self.prompt.iter().copied().chain(sampled).collect()
    }
}

fn requests(random: &mut Random) -> Vec<Request> {
    (0..REQUESTS)
        .map(|index| {
            let length = 1 + random.below(LONGEST_PROMPT);
            let token = |random: &mut Random| u32::try_from(random.below(tiny::VOCABULARY)).expect("small");
            let sampling = Sampling {
                temperature: [0.0, 0.7, 1.0, 1.8][index % 4],
                top_k: [0, 20][index % 2],
                top_p: [1.0, 0.9, 0.6][index % 3],
                min_p: [0.0, 0.01][index / 2 % 2],
                penalties: Penalties::NONE,
                seed: random.next(),
            };
            Request {
                sampling,
                prompt: (0..length).map(|_| token(random)).collect(),
                sampled: Vec::new(),
                cached: 0,
                table: Vec::new(),
            }
        })
        .collect()
}

fn decoder(file: &ModelFile, isa: Isa, threads: usize, rows: usize, sequences: usize) -> Decoder<CpuOps> {
    let threads = NonZeroUsize::new(threads).expect("positive");
    let ops = CpuOps::with_isa(Precision::Fast, threads, isa).expect("threads start");
    let spec = architectures::read(file).expect("a supported architecture");
    let budget = Budget {
        bytes: u64::MAX,
        rows,
        outputs: sequences,
        context: tiny::CONTEXT,
        cache_tokens: tiny::CONTEXT * sequences,
    };
    let loaded = Loaded::load(file, spec, ops).expect("the model loads");
    loaded.reserve(budget).expect("memory for a cache")
}

/// Computes one batch of the next tokens of some requests: `(request, new tokens)`.
fn step(backend: &mut dyn Backend, requests: &mut [Request], parts: &[(usize, usize)]) {
    let mut batch = Batch::new(backend.limits().block_tokens);
    let mut specs = Vec::new();
    let mut complete = Vec::new();
    for (index, count) in parts {
        let request = &mut requests[*index];
        let tokens = request.tokens();
        let row = batch.push(
            &tokens[request.cached..][..*count],
            request.cached,
            &request.table,
        );
        request.cached += count;
        if request.cached == tokens.len() {
            batch.want(row + count - 1);
            complete.push(*index);
            specs.push(SampleSpec {
                sampling: request.sampling,
                index: request.sampled.len() as u64,
                ..SampleSpec::GREEDY
            });
        }
    }
    let sampled = backend.step(&batch, &specs).expect("a valid batch");
    for (index, (token, logprob)) in complete.iter().zip(sampled.ids.iter().zip(&sampled.logprobs)) {
        requests[*index].sampled.push((*token, logprob.to_bits()));
    }
}

/// Every request by itself, its prompt in one piece, in the first blocks, on one thread.
fn alone(file: &ModelFile, isa: Isa, requests: &[Request], tokens: usize) -> Vec<Vec<(u32, u32)>> {
    let mut backend = decoder(file, isa, 1, LONGEST_PROMPT, 1);
    let blocks = backend.limits().blocks_for(tiny::CONTEXT);
    let mut results = Vec::new();
    for request in requests {
        let mut one = [request.clone()];
        one[0].table = (0u32..).take(blocks).collect();
        let mut count = one[0].prompt.len();
        while one[0].sampled.len() < tokens {
            step(&mut backend, &mut one, &[(0, count)]);
            count = 1;
        }
        results.push(std::mem::take(&mut one[0].sampled));
    }
    results
}

/// All requests in batches of random size, prompts in random pieces, over blocks in random order.
fn together(
    file: &ModelFile,
    isa: Isa,
    threads: usize,
    seed: u64,
    requests: &[Request],
) -> Vec<Vec<(u32, u32)>> {
    let mut random = Random(seed);
    let mut backend = decoder(file, isa, threads, 256, MOST_SEQUENCES);
    let per_sequence = backend.limits().blocks_for(tiny::CONTEXT);
    let mut blocks: Vec<u32> = (0u32..).take(per_sequence * requests.len()).collect();
    for index in (1..blocks.len()).rev() {
        blocks.swap(index, random.below(index + 1));
    }
    let mut requests = requests.to_vec();
    for (request, table) in requests.iter_mut().zip(blocks.chunks(per_sequence)) {
        request.table = table.to_vec();
    }
    loop {
        let mut open: Vec<usize> = (0..requests.len())
            .filter(|index| requests[*index].sampled.len() < TOKENS)
            .collect();
        if open.is_empty() {
            return requests.into_iter().map(|request| request.sampled).collect();
        }
        for index in (1..open.len()).rev() {
            open.swap(index, random.below(index + 1));
        }
        open.truncate(1 + random.below(MOST_SEQUENCES.min(open.len())));
        let mut rows = 256;
        let mut parts = Vec::new();
        for index in open {
            let request = &requests[index];
            let rest = request.prompt.len() + request.sampled.len() - request.cached;
            let count = (1 + random.below(rest)).min(rows);
            if count > 0 {
                parts.push((index, count));
                rows -= count;
            }
        }
        step(&mut backend, &mut requests, &parts);
    }
}

fn assert_same(got: &[Vec<(u32, u32)>], expected: &[Vec<(u32, u32)>], what: &str) {
    for (request, (got, expected)) in got.iter().zip(expected).enumerate() {
        let first = got
            .iter()
            .zip(expected)
            .position(|(got, expected)| got != expected);
        assert_eq!(first, None, "{what}: request {request} differs at a token");
    }
}

#[test]
fn a_hundred_thousand_tokens_are_the_same_on_every_machine_and_in_every_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bits = Sha256::new();
    // Three beginnings put every type in several places.
    for first in [0, 4, 8] {
        let file = tiny::model(&folder, first);
        let requests = requests(&mut Random(first as u64 + 77));
        let best = Isa::detect();
        let expected = alone(&file, best, &requests, TOKENS);
        let different: std::collections::BTreeSet<u32> =
            expected.iter().flatten().map(|(token, _)| *token).collect();
        assert!(different.len() > 20, "the model says {different:?} only");
        for (isa, threads, seed) in [(best, 2, 1), (Isa::Avx2.min(best), 3, 2), (best, 1, 3)] {
            let got = together(&file, isa, threads, seed, &requests);
            assert_same(&got, &expected, &format!("{isa:?} with {threads} threads"));
        }
        let twin = alone(&file, Isa::Scalar, &requests[..TWIN_REQUESTS], TWIN_TOKENS);
        assert_same(&twin, &expected, "the scalar twin");
        for (token, logprob) in twin.iter().flatten() {
            bits.update(token.to_le_bytes());
            bits.update(logprob.to_le_bytes());
        }
    }
    assert_eq!(hex::encode(bits.finalize()), TWIN_BITS);
}
