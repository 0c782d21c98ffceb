//! `gpu-agent eval`: compares a model with recorded reference outputs.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::Context as _;
use gpu_agent::{
    backend::{
        Backend as _, Budget,
        cpu::{CpuOps, Precision},
    },
    evaluate::{Golden, evaluate},
    model::{architectures, chat::ChatTemplate, decoder::Loaded, tokenizer::Tokenizer},
    weights::file::ModelFile,
};

/// Rows of one batch of an evaluation: bounds the memory of the logits.
const ROWS: usize = 256;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Model file (GGUF).
    #[arg(long)]
    model: PathBuf,
    /// File with reference outputs (JSON).
    #[arg(long)]
    golden: PathBuf,
    /// Keep activations in 32-bit floats, and hold results to 0.002 of the reference.
    #[arg(long)]
    exact: bool,
    /// Threads that compute [default: all cores]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let text = std::fs::read(&arguments.golden)
        .with_context(|| format!("cannot read golden file {}", arguments.golden.display()))?;
    let golden = Golden::parse(&text)
        .with_context(|| format!("cannot use golden file {}", arguments.golden.display()))?;
    let precision = if arguments.exact {
        Precision::Exact
    } else {
        Precision::Fast
    };
    let file = ModelFile::open(&arguments.model, Some(golden.sha256()?))?;
    let spec = architectures::read(&file)?;
    let tokenizer = Tokenizer::read(&file)?;
    let chat = ChatTemplate::read(&file, &tokenizer)?;
    let context = golden.longest();
    let threads = super::threads(arguments.threads)?;
    let ops = CpuOps::new(precision, threads).context("cannot start the compute threads")?;
    let loaded = Loaded::load(&file, spec, ops)?;
    let budget = Budget {
        bytes: loaded.available(),
        rows: ROWS,
        outputs: ROWS,
        context,
        cache_tokens: context,
    };
    let mut backend = loaded.reserve(budget)?;
    println!("{} on {}, {precision:?}", golden.model, backend.describe());
    let report = evaluate(&golden, &tokenizer, chat.as_ref(), &mut backend, precision)?;
    print!("{report}");
    anyhow::ensure!(
        report.passed(),
        "{} does not compute what the reference does",
        arguments.model.display()
    );
    Ok(())
}
