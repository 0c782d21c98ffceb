//! `gpu-agent bench`: tokens per second of prefill and decode, as one JSON object.

use std::{num::NonZeroUsize, path::PathBuf, time::Instant};

use anyhow::Context as _;
use gpu_agent::{
    backend::{
        Backend, Batch, Budget, SampleSpec,
        cpu::{CpuOps, Precision},
        cuda::ops::CudaOps,
        ops::Ops,
    },
    model::{architectures, decoder::Loaded},
    weights::file::ModelFile,
};

/// Tokens decoded by each sequence in one measurement: about half a second of one sequence.
const DECODE_TOKENS: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Model file (GGUF).
    #[arg(long)]
    model: PathBuf,
    /// Tokens of the prefill that is measured.
    #[arg(long, default_value_t = 256)]
    prefill: usize,
    /// Sequences that decode side by side; several measure one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    sequences: Vec<usize>,
    /// Measurements of each kind, after one that does not count; the best counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure this GPU, counted from 0 among those that `CUDA_VISIBLE_DEVICES` leaves, instead of the processor.
    #[arg(long, conflicts_with_all = ["exact", "threads"])]
    gpu: Option<usize>,
    /// Keep activations in 32-bit floats.
    #[arg(long)]
    exact: bool,
    /// Threads that compute [default: all cores]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(ordinal) = arguments.gpu {
        return measure(arguments, CudaOps::open(ordinal)?, Precision::Fast);
    }
    let precision = if arguments.exact {
        Precision::Exact
    } else {
        Precision::Fast
    };
    let ops = CpuOps::new(precision, super::threads(arguments.threads)?)
        .context("cannot start the compute threads")?;
    measure(arguments, ops, precision)
}

fn measure<O: Ops + 'static>(arguments: &Arguments, ops: O, precision: Precision) -> anyhow::Result<()> {
    let most = arguments.sequences.iter().copied().max().unwrap_or(1).max(1);
    let context = arguments.prefill.max(DECODE_TOKENS + 1);
    let file = ModelFile::open(&arguments.model, None)?;
    let spec = architectures::read(&file)?;
    let started = Instant::now();
    let loaded = Loaded::load(&file, spec, ops)?;
    let machine = loaded.describe();
    let budget = Budget {
        bytes: loaded.available(),
        rows: arguments.prefill.max(most),
        outputs: most,
        context,
        cache_tokens: context.next_multiple_of(loaded.block_tokens()) * most,
    };
    let backend = Box::new(loaded.reserve(budget)?);
    let per_sequence = backend.limits().blocks_for(context);
    anyhow::ensure!(
        per_sequence * most <= backend.limits().blocks,
        "memory holds the keys and values of {} sequences of {context} tokens, not of {most}",
        backend.limits().blocks / per_sequence
    );
    let mut bench = Bench {
        backend,
        per_sequence,
    };
    let load_seconds = started.elapsed().as_secs_f64();
    let prefill = bench.best(arguments.rounds, |bench| bench.prefill(arguments.prefill))?;
    let mut decode = serde_json::Map::new();
    for sequences in &arguments.sequences {
        let rate = bench.best(arguments.rounds, |bench| bench.decode(*sequences))?;
        decode.insert(sequences.to_string(), rate.into());
    }
    let result = serde_json::json!({
        "model": arguments.model,
        "machine": machine,
        "precision": format!("{precision:?}"),
        "loadSeconds": load_seconds,
        "prefillTokens": arguments.prefill,
        "prefillTokensPerSecond": prefill,
        "decodeTokensPerSecond": decode,
    });
    println!("{result:#}");
    Ok(())
}

struct Bench {
    backend: Box<dyn Backend>,
    per_sequence: usize,
}

impl Bench {
    fn best(
        &mut self,
        rounds: usize,
        mut measure: impl FnMut(&mut Self) -> anyhow::Result<f64>,
    ) -> anyhow::Result<f64> {
        // What is touched for the first time is slow once.
        measure(self)?;
        let mut best = 0.0f64;
        for _ in 0..rounds.max(1) {
            best = best.max(measure(self)?);
        }
        Ok(best)
    }

    /// Tokens a second of one prompt.
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens are small")]
    fn prefill(&mut self, tokens: usize) -> anyhow::Result<f64> {
        let mut batch = Batch::new(self.backend.limits().block_tokens);
        batch.push(&vec![self.token(0); tokens], 0, &self.blocks(0));
        batch.want(tokens - 1);
        let started = Instant::now();
        self.backend.step(&batch, &[SampleSpec::GREEDY])?;
        Ok(tokens as f64 / started.elapsed().as_secs_f64())
    }

    /// Tokens a second of all sequences together.
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens are small")]
    fn decode(&mut self, sequences: usize) -> anyhow::Result<f64> {
        let mut batch = Batch::new(self.backend.limits().block_tokens);
        let started = Instant::now();
        for step in 0..DECODE_TOKENS {
            batch.clear();
            for sequence in 0..sequences {
                let row = batch.push(&[self.token(step)], step, &self.blocks(sequence));
                batch.want(row);
            }
            self.backend.step(&batch, &vec![SampleSpec::GREEDY; sequences])?;
        }
        Ok((sequences * DECODE_TOKENS) as f64 / started.elapsed().as_secs_f64())
    }

    /// Some token; which one does not matter to the time.
    fn token(&self, step: usize) -> u32 {
        u32::try_from(step * 97 % self.backend.limits().vocabulary).unwrap_or(0)
    }

    fn blocks(&self, sequence: usize) -> Vec<u32> {
        (0u32..)
            .skip(sequence * self.per_sequence)
            .take(self.per_sequence)
            .collect()
    }
}
