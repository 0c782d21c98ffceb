//! `gpu-agent selftest`: every kernel against its twin on the card at hand, then a short generation against the
//! processor, then how fast it is.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context as _;
use gpu_agent::{
    backend::{
        Backend, Batch, Budget, SampleSpec,
        cpu::{CpuOps, Precision},
        cuda::{
            ops::CudaOps,
            rates::Rates,
            selftest::{Check, Depth, MatrixShape, Shapes, WrongKernel},
        },
        ops::{Activation, Attention, Ops, RopePairs, Rotation},
    },
    engine::measure,
    model::{architectures, decoder::Loaded, spec::DecoderSpec},
    weights::{file::ModelFile, quants::TensorType},
};
use serde::Serialize;

/// Tokens of the prompt of the short generation: a batch of products, and attention over more than one block.
const PROMPT: usize = 18;
/// Tokens that follow it.
const TOKENS: usize = 4;
/// The table of embeddings.
const TABLE: &str = "token_embd.weight";
/// Share of the host's free memory that a model may take for a comparison with the processor.
const HOST_SHARE: f64 = 0.8;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Model file (GGUF) whose shapes are checked [default: shapes of every weight type]
    #[arg(long)]
    model: Option<PathBuf>,
    /// The card, counted from 0 among those that `CUDA_VISIBLE_DEVICES` leaves.
    #[arg(long, default_value_t = 0)]
    gpu: usize,
    /// Check only what the card would compute with, as at the start of a pod; no generation.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    card: String,
    rates: Rates,
    checks: Vec<Check>,
    generation: Option<Generation>,
    speed: Option<Speed>,
}

/// A short generation on the card and on the processor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Generation {
    tokens: usize,
    /// Why there was none.
    skipped: Option<String>,
    /// How they differ; nothing where tokens and log-probabilities have the same bits.
    difference: Option<String>,
}

/// How fast the model runs; a driver in software has no speed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Speed {
    tokens_per_second: f64,
    /// Bytes of weights that a token reads, times tokens a second.
    achieved_bandwidth: f64,
    measured_bandwidth: f64,
    theoretical_bandwidth: Option<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut card = CudaOps::open(arguments.gpu)?;
    let model = match &arguments.model {
        None => None,
        Some(path) => {
            let file = ModelFile::open(path, None)?;
            let spec = architectures::read(&file)?;
            Some((file, spec))
        }
    };
    let shapes = match &model {
        None => every_type(),
        Some((file, spec)) => shapes(file, spec)?,
    };
    let depth = if arguments.quick {
        Depth::Quick
    } else {
        Depth::Full
    };
    let mut report = Report {
        card: card.describe(),
        rates: *card.units().rates(),
        checks: card.selftest(&shapes, depth)?,
        generation: None,
        speed: None,
    };
    if let (Some((file, spec)), false) = (&model, arguments.quick)
        && passed(&report.card, &report.checks).is_ok()
    {
        let (generation, speed) = generate(file, spec, card)?;
        (report.generation, report.speed) = (Some(generation), speed);
    }
    if arguments.json {
        println!(
            "{:#}",
            serde_json::to_value(&report).context("cannot encode the report")?
        );
    } else {
        print!("{}", table(&report));
    }
    passed(&report.card, &report.checks)?;
    if let Some(difference) = report.generation.and_then(|generation| generation.difference) {
        anyhow::bail!("the card generates otherwise than the processor: {difference}");
    }
    Ok(())
}

/// The part that an agent runs before it serves: what this card will compute this model with.
pub(crate) fn quick(card: &mut CudaOps, file: &ModelFile, spec: &DecoderSpec) -> anyhow::Result<()> {
    let checks = card.selftest(&shapes(file, spec)?, Depth::Quick)?;
    passed(&card.describe(), &checks)?;
    tracing::info!(checks = checks.len(), "the kernels have the bits of their twins");
    Ok(())
}

/// An error that names the first kernel whose result differs.
fn passed(card: &str, checks: &[Check]) -> anyhow::Result<()> {
    match WrongKernel::of(card, checks) {
        None => Ok(()),
        Some(wrong) => Err(wrong.into()),
    }
}

/// What a model's kernels are checked on.
fn shapes(file: &ModelFile, spec: &DecoderSpec) -> anyhow::Result<Shapes> {
    let tensors = &file.header().tensors;
    let table = tensors
        .get(TABLE)
        .with_context(|| format!("the model has no tensor {TABLE}"))?
        .kind;
    let mut matrices = Vec::new();
    for (name, info) in tensors {
        // Without a matrix of its own the output layer multiplies with the table.
        let is_input = name == TABLE && tensors.contains_key("output.weight");
        if let [columns, rows] = info.dimensions[..]
            && !is_input
        {
            matrices.push(MatrixShape {
                kind: info.kind,
                columns: usize::try_from(columns).context("a matrix is larger than memory")?,
                rows: usize::try_from(rows).context("a matrix is larger than memory")?,
            });
        }
    }
    let (mut attentions, mut rotations) = (Vec::new(), Vec::new());
    for layer in &spec.layers {
        let (attention, rotation) = (
            spec.attention(layer),
            (spec.rotation(layer), layer.query_key_norms),
        );
        if !attentions.contains(&attention) {
            attentions.push(attention);
        }
        if !rotations.contains(&rotation) {
            rotations.push(rotation);
        }
    }
    Ok(Shapes {
        width: spec.width,
        hidden: spec.hidden,
        vocabulary: spec.vocabulary,
        matrices,
        table,
        attentions,
        rotations,
        activation: spec
            .layers
            .first()
            .map_or(Activation::Silu, |layer| layer.activation),
        soft_cap: spec.output_soft_cap,
    })
}

/// Shapes of no model: every type, and the ways to attend that the kernels have variants for.
fn every_type() -> Shapes {
    let attention = |heads, window, soft_cap| Attention {
        heads,
        kv_heads: 2,
        head_size: 64,
        scale: 0.125,
        window,
        soft_cap,
    };
    let rotation = |pairs| Rotation {
        size: 64,
        head_size: 64,
        pairs,
    };
    let matrix = |kind: TensorType| MatrixShape {
        kind,
        columns: 768,
        rows: 360,
    };
    Shapes {
        width: 768,
        hidden: 360,
        vocabulary: 1_000,
        matrices: TensorType::ALL.into_iter().map(matrix).collect(),
        table: TensorType::Q4_K,
        attentions: vec![
            attention(2, None, None),
            attention(8, Some(40), None),
            attention(16, None, Some(30.0)),
        ],
        rotations: vec![
            (rotation(RopePairs::Adjacent), false),
            (rotation(RopePairs::Halves), true),
        ],
        activation: Activation::Gelu,
        soft_cap: Some(30.0),
    }
}

fn generate(
    file: &ModelFile,
    spec: &DecoderSpec,
    mut card: CudaOps,
) -> anyhow::Result<(Generation, Option<Speed>)> {
    let weights: u64 = file.header().tensors.values().map(|tensor| tensor.length).sum();
    let simulated = card.device().is_simulated()?;
    let theoretical_bandwidth = card.device().theoretical_bandwidth();
    let measured_bandwidth = card.units().rates().memory;
    let mut on_card = backend(file, spec, card)?;
    let mut generation = Generation {
        tokens: TOKENS,
        skipped: no_room(weights),
        difference: None,
    };
    if generation.skipped.is_none() {
        let threads = super::threads(None::<NonZeroUsize>)?;
        let cpu = CpuOps::new(Precision::Fast, threads).context("cannot start the compute threads")?;
        let expected = tokens(&mut *backend(file, spec, cpu)?)?;
        let got = tokens(&mut *on_card)?;
        let differing = got
            .iter()
            .zip(&expected)
            .position(|(got, expected)| got != expected);
        generation.difference = differing.map(|index| {
            let ((token, _), (wanted, _)) = (got[index], expected[index]);
            format!("token {index} is {token} on the card and {wanted} on the processor, or their probabilities differ")
        });
    }
    if simulated {
        return Ok((generation, None));
    }
    let tokens_per_second = measure(&mut *on_card).context("cannot measure the card")?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let achieved_bandwidth = weights as f64 * tokens_per_second;
    let speed = Speed {
        tokens_per_second,
        achieved_bandwidth,
        measured_bandwidth,
        theoretical_bandwidth,
    };
    Ok((generation, Some(speed)))
}

/// Why the processor cannot compute a model of so many bytes, if it cannot.
#[expect(clippy::cast_precision_loss, reason = "a share of memory")]
fn no_room(weights: u64) -> Option<String> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    let free = kibibytes * 1024;
    (weights as f64 > free as f64 * HOST_SHARE)
        .then(|| format!("the host has {free} bytes of memory free, and the model takes {weights}"))
}

/// The model on a machine, with room for the short generation.
fn backend<O: Ops + 'static>(
    file: &ModelFile,
    spec: &DecoderSpec,
    ops: O,
) -> anyhow::Result<Box<dyn Backend>> {
    let loaded = Loaded::load(file, spec.clone(), ops)?;
    let context = (PROMPT + TOKENS).max(64);
    let budget = Budget {
        bytes: loaded.available(),
        rows: PROMPT,
        outputs: 1,
        context,
        cache_tokens: context.next_multiple_of(loaded.block_tokens()),
    };
    Ok(Box::new(loaded.reserve(budget)?))
}

/// The likeliest tokens after some prompt, with the bits of their log-probabilities.
fn tokens(backend: &mut dyn Backend) -> anyhow::Result<Vec<(u32, u32)>> {
    let vocabulary = backend.limits().vocabulary;
    let table: Vec<u32> = (0u32..)
        .take(backend.limits().blocks_for(PROMPT + TOKENS))
        .collect();
    let mut text: Vec<u32> = (0..PROMPT)
        .map(|index| u32::try_from((index * 97 + 1) % vocabulary).unwrap_or(0))
        .collect();
    let (mut cached, mut found) = (0, Vec::new());
    for _ in 0..TOKENS {
        let mut batch = Batch::new(backend.limits().block_tokens);
        let row = batch.push(&text[cached..], cached, &table);
        batch.want(row + text.len() - cached - 1);
        cached = text.len();
        let sampled = backend.step(&batch, &[SampleSpec::GREEDY])?;
        text.push(sampled.ids[0]);
        found.push((sampled.ids[0], sampled.logprobs[0].to_bits()));
    }
    Ok(found)
}

fn table(report: &Report) -> String {
    let mut text = format!("{}\n", report.card);
    for check in &report.checks {
        let verdict = check.difference.as_deref().unwrap_or("equal");
        let _ = writeln!(
            text,
            "  {:<32} {:<32} {:<56} {verdict}",
            check.kernel, check.module, check.shape
        );
    }
    if let Some(generation) = &report.generation {
        let verdict = match (&generation.skipped, &generation.difference) {
            (Some(reason), _) => format!("skipped: {reason}"),
            (None, Some(difference)) => difference.clone(),
            (None, None) => format!("{} tokens as on the processor", generation.tokens),
        };
        let _ = writeln!(text, "  generation: {verdict}");
    }
    if let Some(speed) = &report.speed {
        let theoretical = speed
            .theoretical_bandwidth
            .map_or("unknown".to_owned(), |bandwidth| {
                format!("{:.0}", bandwidth / 1e9)
            });
        let _ = writeln!(
            text,
            "  speed: {:.1} tokens/s, {:.0} GB/s of weights; a copy reaches {:.0}, the memory's clock allows {theoretical}",
            speed.tokens_per_second,
            speed.achieved_bandwidth / 1e9,
            speed.measured_bandwidth / 1e9
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_is_an_error_that_names_the_kernel() {
        let check = |kernel: &str, difference: Option<&str>| Check {
            kernel: kernel.to_owned(),
            module: "rows.sm_61".to_owned(),
            shape: "rows of 64".to_owned(),
            difference: difference.map(str::to_owned),
        };
        let mut checks = vec![check("norm_add", None)];
        assert!(passed("a card", &checks).is_ok());
        checks.push(check("gate_quantise", Some("3 of 64 values differ")));
        let error = passed("a card", &checks).unwrap_err().to_string();
        assert!(
            error.contains("gate_quantise") && error.contains("1 of 2"),
            "{error}"
        );
    }
}
