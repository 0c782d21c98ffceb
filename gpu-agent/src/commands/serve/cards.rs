//! A model on GPUs: plans what lies where, says so, and loads it.

use std::time::Duration;

use anyhow::Context as _;
use gpu_agent::{
    backend::{Backend, Budget, Limits, cuda::ops::CudaOps, ops::Ops as _},
    model::{
        decoder::{
            Loaded, Needs,
            plan::{Card, CardPlan, Demand, Plan, Spread, human},
        },
        spec::DecoderSpec,
    },
    weights::file::ModelFile,
};

use crate::commands::selftest;

/// What is asked of the GPUs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Rows of a batch, sequences at once on all GPUs together, and tokens of one.
    pub(super) demand: Demand,
    /// Bytes of working memory and cache at most, on each GPU.
    pub(super) cache_bytes: Option<u64>,
}

/// The model on the GPUs that are visible: one backend for each that has the whole model, or one for all of them.
pub(super) fn load(
    asked: Asked,
    file: &ModelFile,
    spec: &DecoderSpec,
) -> anyhow::Result<Vec<Box<dyn Backend>>> {
    let mut cards: Vec<Option<CudaOps>> = Vec::new();
    let mut memory = Vec::new();
    for card in CudaOps::open_all()? {
        let (free, total) = card.memory();
        let name = card.name().to_owned();
        memory.push(Card { name, free, total });
        cards.push(Some(card));
    }
    let first = cards
        .first()
        .and_then(Option::as_ref)
        .context("no GPU was opened")?;
    let needs = |demand: Demand| Needs::of(file, spec, first, &limits(spec, first, demand));
    let plan = Plan::new(&needs, &memory, asked.demand)?;
    for line in plan.lines(&memory) {
        tracing::info!(plan = line, spread = ?plan.spread, "memory is planned");
    }
    let mut chosen = Vec::with_capacity(plan.cards.len());
    for part in &plan.cards {
        let mut card = cards[part.card].take().context("a GPU was planned for twice")?;
        selftest::quick(&mut card, file, spec)?;
        chosen.push(card);
    }
    announce(&plan, &chosen)?;
    let loaded = match plan.spread {
        Spread::Replicas => Loaded::load_replicas(file, spec, chosen)?,
        Spread::Layers => {
            let layers = plan.cards.iter().map(|part| part.layers.len());
            vec![Loaded::load_split(
                file,
                spec.clone(),
                chosen.into_iter().zip(layers).collect(),
            )?]
        }
    };
    let parts = loaded.into_iter().zip(&plan.cards);
    parts
        .map(|(loaded, part)| Ok(Box::new(loaded.reserve(budget(asked, &plan, part))?) as Box<dyn Backend>))
        .collect()
}

/// A plan's demand, as operations are sized for it.
fn limits(spec: &DecoderSpec, card: &CudaOps, demand: Demand) -> Limits {
    Limits {
        rows: demand.rows,
        outputs: demand.sequences,
        context: demand.context,
        blocks: 0,
        block_tokens: card.block_tokens(),
        vocabulary: spec.vocabulary,
    }
}

/// What was planned, as a budget: the plan has made sure that it fits.
fn budget(asked: Asked, plan: &Plan, part: &CardPlan) -> Budget {
    Budget {
        bytes: asked.cache_bytes.unwrap_or(u64::MAX),
        rows: plan.demand.rows,
        outputs: plan.demand.sequences,
        context: plan.demand.context,
        cache_tokens: part.blocks * plan.block_tokens,
    }
}

/// Says how long the weights take on the way to the cards: on a mining rig's risers it is minutes.
fn announce(plan: &Plan, cards: &[CudaOps]) -> anyhow::Result<()> {
    let mut longest = Duration::ZERO;
    for (part, card) in plan.cards.iter().zip(cards) {
        let speed = card.link_speed().context("cannot measure the link to a GPU")?;
        let time = Duration::from_secs_f64(seconds(part.weights, speed));
        longest = longest.max(time);
        tracing::info!(
            gpu = part.card,
            name = card.name(),
            weights = human(part.weights),
            link_megabytes_per_second = (speed / 1e6).round(),
            expected_seconds = time.as_secs_f64(),
            "the link was measured"
        );
    }
    tracing::info!(
        expected_seconds = longest.as_secs_f64(),
        "loading weights; reading and packing the file may take longer than the links"
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn seconds(bytes: u64, speed: f64) -> f64 {
    bytes as f64 / speed.max(1.0)
}
