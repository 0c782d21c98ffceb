//! What a model's file is, and which cards hold it: read and planned by the agent's own code.

use std::{fmt::Write as _, num::NonZeroUsize, path::Path};

use anyhow::{Context as _, Result};
use gpu_agent::{
    backend::{
        Limits,
        cpu::{CpuOps, Precision},
        ops::Ops as _,
    },
    model::{
        architectures,
        chat::ChatTemplate,
        decoder::{
            Needs,
            plan::{Card, Demand, MemoryPlan, human},
        },
        tokenizer::Tokenizer,
    },
    weights::file::ModelFile,
};

/// Rows of a batch that agents reserve memory for.
const BATCH_ROWS: usize = 256;
/// Tokens of context where none are asked for.
const CONTEXT: u32 = 4096;
/// Memory of the cards that people have, in GiB.
const CARDS: [u64; 10] = [4, 6, 8, 10, 12, 16, 24, 32, 48, 80];
/// Cards over which a model is spread at most, as a mining rig has them.
const MAX_CARDS: [usize; 4] = [1, 2, 4, 8];
/// Percent of a card's memory that a driver and a desktop leave.
const FREE_PERCENT: u64 = 94;

/// What is asked of the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Tokens of context.
    pub(super) context: Option<u32>,
    /// Requests at once.
    pub(super) sequences: u32,
}

/// What a model's file is.
#[derive(Debug)]
pub(super) struct Facts {
    /// Absolute path.
    pub(super) path: String,
    pub(super) file_name: String,
    /// In hexadecimal.
    pub(super) sha256: String,
    /// Tokens of context that are offered.
    pub(super) context: u32,
    /// Bytes of the weights, and of keys and values of a token, as an agent on the CPU holds them: cards hold no more.
    pub(super) weights: u64,
    pub(super) cache_per_token: u64,
    bytes: u64,
    architecture: String,
    layers: usize,
    trained_context: usize,
    has_chat: bool,
    sequences: u32,
    /// Each size of card in GiB, and how many of them hold the model; none where eight do not.
    fits: Vec<(u64, Option<usize>)>,
}

impl Facts {
    /// Reads the file as the agent will: one that this refuses no agent would serve.
    pub(super) fn read(path: &Path, wanted: Wanted) -> Result<Self> {
        let path =
            std::fs::canonicalize(path).with_context(|| format!("could not find {}", path.display()))?;
        let facts = Self::of_head(&path, wanted)?;
        eprintln!("reading {} for its digest", human(facts.bytes));
        let sha256 = ModelFile::open_unverified(&path)?.sha256()?;
        Ok(Self {
            sha256: hex::encode(sha256),
            ..facts
        })
    }

    /// The same of a file whose head alone is there, and whose digest and name are known from elsewhere.
    pub(super) fn of_download(
        path: &Path,
        file_name: &str,
        sha256: [u8; 32],
        wanted: Wanted,
    ) -> Result<Self> {
        Ok(Self {
            sha256: hex::encode(sha256),
            file_name: file_name.to_owned(),
            ..Self::of_head(path, wanted)?
        })
    }

    /// What the head of the file says; its digest is left empty.
    fn of_head(path: &Path, wanted: Wanted) -> Result<Self> {
        let file = ModelFile::open_unverified(path)?;
        let spec = architectures::read(&file)?;
        let tokenizer = Tokenizer::read(&file)?;
        let has_chat = ChatTemplate::read(&file, &tokenizer)?.is_some();
        let trained = u32::try_from(spec.context).unwrap_or(u32::MAX);
        let context = wanted.context.unwrap_or(CONTEXT).min(trained);
        let ops = CpuOps::new(Precision::Fast, NonZeroUsize::MIN).context("could not start a thread")?;
        let needs = |demand: Demand| {
            let limits = Limits {
                rows: demand.rows,
                outputs: demand.sequences,
                context: demand.context,
                blocks: 0,
                block_tokens: ops.block_tokens(),
                vocabulary: spec.vocabulary,
            };
            Needs::of(&file, &spec, &ops, &limits)
        };
        let sequences = wanted.sequences as usize;
        let demand = Demand {
            rows: BATCH_ROWS.max(sequences),
            sequences,
            context: context as usize,
        };
        let holds = |gibibytes: u64, count: usize| {
            let total = gibibytes << 30;
            let card = Card {
                name: format!("{gibibytes} GiB"),
                free: total / 100 * FREE_PERCENT,
                total,
            };
            MemoryPlan::new(&needs, &vec![card; count], demand).is_ok()
        };
        let fits = CARDS
            .into_iter()
            .map(|size| (size, MAX_CARDS.into_iter().find(|count| holds(size, *count))))
            .collect();
        let whole = needs(demand).share(0..spec.layers.len(), [true, true]);
        let bytes = std::fs::metadata(path)
            .with_context(|| format!("could not read {}", path.display()))?
            .len();
        Ok(Self {
            sha256: String::new(),
            architecture: file
                .header()
                .text("general.architecture")?
                .unwrap_or_default()
                .to_owned(),
            file_name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            path: path.to_str().context("the file's path is no text")?.to_owned(),
            context,
            weights: whole.weights,
            cache_per_token: whole.block.div_ceil(ops.block_tokens() as u64),
            bytes,
            layers: spec.layers.len(),
            trained_context: spec.context,
            has_chat,
            sequences: wanted.sequences,
            fits,
        })
    }

    /// Cards of one agent: as many as the smallest size that holds the model on one, or else on fewest, needs.
    pub(super) fn gpus(&self) -> usize {
        self.fits
            .iter()
            .filter_map(|(_, count)| *count)
            .min()
            .unwrap_or(1)
    }

    /// What the file is and what it fits, as a comment in YAML.
    pub(super) fn comment(&self) -> String {
        let mut text = format!(
            "# {}: {}, {} architecture with {} layers, made for {} tokens of context, {}.\n# With {} requests of {} tokens at once it \
             fits, as an estimate:\n",
            self.file_name,
            human(self.bytes),
            self.architecture,
            self.layers,
            self.trained_context,
            if self.has_chat {
                "chat template"
            } else {
                "no chat template: completions alone"
            },
            self.sequences,
            self.context,
        );
        let one: Vec<String> = sizes(&self.fits, |count| count == Some(1));
        let spread: Vec<String> = self
            .fits
            .iter()
            .filter_map(|(size, count)| {
                count
                    .filter(|count| *count > 1)
                    .map(|count| format!("{count} × {size}"))
            })
            .collect();
        let none = sizes(&self.fits, |count| count.is_none());
        for (words, list) in [
            ("one card of", one),
            ("several cards of, by layers,", spread),
            ("not even eight cards of", none),
        ] {
            if !list.is_empty() {
                writeln!(text, "#   {words} {} GiB", list.join(", ")).expect("a String takes all text");
            }
        }
        text
    }
}

fn sizes(fits: &[(u64, Option<usize>)], is_meant: impl Fn(Option<usize>) -> bool) -> Vec<String> {
    fits.iter()
        .filter(|(_, count)| is_meant(*count))
        .map(|(size, _)| size.to_string())
        .collect()
}
