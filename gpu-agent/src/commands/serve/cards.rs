//! A model on GPUs: plans what lies where, says so, and loads it.

use std::time::Duration;

use anyhow::Context as _;
use cocoon_api::agent::GpuFault;
use gpu_agent::{
    backend::{
        AllocationError, Backend, Budget, DeviceFault, Limits, ReserveError,
        cuda::{error::OpenError, ops::CudaOps, rates::Unit},
        ops::Ops as _,
    },
    model::{
        decoder::{
            Loaded, Needs,
            plan::{Card, CardPlan, Demand, MemoryPlan, MemoryTaken, Spread, human},
        },
        spec::DecoderSpec,
    },
    weights::file::ModelFile,
};

use crate::commands::selftest;

/// Tokens of one batch on cards that are fast at large tiles: eight of them side by side, twice the rows of small ones.
const TILED_ROWS: usize = 512;

/// What is asked of the GPUs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Rows of a batch, sequences at once on all GPUs together, and tokens of one.
    pub(super) demand: Demand,
    /// Bytes of working memory and cache at most, on each GPU.
    pub(super) cache_bytes: Option<u64>,
}

/// What computes a model.
pub(super) struct Backends {
    /// One for each GPU that has the whole model, or one for all of them.
    pub(super) backends: Vec<Box<dyn Backend>>,
    /// Why GPUs were left out.
    pub(super) left_out: Vec<GpuFault>,
}

/// The model on the GPUs that are visible.
pub(super) fn load(asked: Asked, file: &ModelFile, spec: &DecoderSpec) -> anyhow::Result<Backends> {
    let (opened, mut refused) = CudaOps::open_all()?;
    for error in &refused {
        tracing::warn!(error = error as &dyn std::error::Error, "a GPU is left out");
    }
    warn_of_hidden(opened.len() + refused.len());
    let mut cards: Vec<Option<CudaOps>> = Vec::new();
    let mut memory = Vec::new();
    for card in opened {
        let (free, total) = card.memory();
        let name = card.label().to_owned();
        memory.push(Card { name, free, total });
        cards.push(Some(card));
    }
    let plan = match plan(asked, file, spec, &cards, &memory) {
        // The others alone do not hold the model: what is wrong is the card that is left out.
        Err(_) if !refused.is_empty() => return Err(refused.swap_remove(0).into()),
        plan => plan?,
    };
    for line in plan.lines(&memory) {
        tracing::info!(plan = line, spread = ?plan.spread, "memory is planned");
    }
    for (index, card) in memory.iter().enumerate() {
        if plan.cards.iter().all(|part| part.card != index) {
            let (free, gpu) = (human(card.free), &card.name);
            tracing::warn!(
                gpu,
                free,
                "a GPU is left idle: its share of the model does not fit its memory"
            );
        }
    }
    let mut chosen = Vec::with_capacity(plan.cards.len());
    for part in &plan.cards {
        let mut card = cards[part.card].take().context("a GPU was planned for twice")?;
        selftest::quick(&mut card, file, spec)?;
        chosen.push(card);
    }
    announce(&plan, &chosen)?;
    let backends = fill(asked, &plan, chosen, file, spec).map_err(taken_since)?;
    let left_out = refused.iter().map(OpenError::fault).collect();
    Ok(Backends { backends, left_out })
}

/// Says where `CUDA_VISIBLE_DEVICES` names more GPUs than there are: the list ends at the first that is not.
fn warn_of_hidden(visible: usize) {
    let Ok(list) = std::env::var("CUDA_VISIBLE_DEVICES") else {
        return;
    };
    let named = list.split(',').filter(|name| !name.trim().is_empty()).count();
    if named > visible {
        tracing::warn!(
            list,
            visible,
            "CUDA_VISIBLE_DEVICES names more GPUs than are visible: the first that the machine lacks, or that was named before, \
             ends the list"
        );
    }
}

/// What lies where; in large batches where the cards are fast at them and they fit.
fn plan(
    asked: Asked,
    file: &ModelFile,
    spec: &DecoderSpec,
    cards: &[Option<CudaOps>],
    memory: &[Card],
) -> anyhow::Result<MemoryPlan> {
    let first = cards
        .first()
        .and_then(Option::as_ref)
        .context("no GPU was opened")?;
    let needs = |demand: Demand| Needs::of(file, spec, first, &limits(spec, first, demand));
    let large = Demand {
        rows: asked.demand.rows.max(TILED_ROWS),
        ..asked.demand
    };
    let is_tiled = matches!(first.units().product(TILED_ROWS), Unit::Tensor(_));
    let plan = match is_tiled.then(|| MemoryPlan::new(&needs, memory, large)) {
        Some(Ok(plan)) => plan,
        _ => MemoryPlan::new(&needs, memory, asked.demand)?,
    };
    Ok(match asked.cache_bytes {
        Some(bytes) => plan.within(bytes)?,
        None => plan,
    })
}

/// Loads the weights, and reserves what was planned beside them.
fn fill(
    asked: Asked,
    plan: &MemoryPlan,
    chosen: Vec<CudaOps>,
    file: &ModelFile,
    spec: &DecoderSpec,
) -> anyhow::Result<Vec<Box<dyn Backend>>> {
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
        .map(|(loaded, part)| Ok(Box::new(loaded.reserve(budget(asked, plan, part))?) as Box<dyn Backend>))
        .collect()
}

/// Memory that was planned and is refused was taken by somebody else meanwhile.
fn taken_since(error: anyhow::Error) -> anyhow::Error {
    let refused = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(ReserveError::Allocation(error)) => Some(error.clone()),
        _ => cause.downcast_ref::<AllocationError>().cloned(),
    };
    match error.chain().find_map(refused) {
        Some(refused) if refused.fault == DeviceFault::OutOfMemory => MemoryTaken {
            cause: refused.to_string(),
        }
        .into(),
        _ => error,
    }
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
fn budget(asked: Asked, plan: &MemoryPlan, part: &CardPlan) -> Budget {
    Budget {
        bytes: asked.cache_bytes.unwrap_or(u64::MAX),
        rows: plan.demand.rows,
        outputs: plan.demand.sequences,
        context: plan.demand.context,
        cache_tokens: part.blocks * plan.block_tokens,
    }
}

/// Says how long the weights take on the way to the cards: on a mining rig's risers it is minutes.
fn announce(plan: &MemoryPlan, cards: &[CudaOps]) -> anyhow::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_memory_that_is_refused_was_taken_by_others_and_a_lost_card_is_lost() {
        let refused = |fault| {
            anyhow::Error::new(AllocationError {
                what: "keys".to_owned(),
                bytes: 1 << 20,
                available: 10,
                fault,
            })
        };
        let taken = taken_since(refused(DeviceFault::OutOfMemory)).to_string();
        assert!(
            taken.contains("another process") && taken.contains("1048576 bytes for keys"),
            "{taken}"
        );
        let reserve = |fault| {
            anyhow::Error::new(ReserveError::from(
                refused(fault).downcast::<AllocationError>().unwrap(),
            ))
        };
        assert!(taken_since(reserve(DeviceFault::OutOfMemory)).is::<MemoryTaken>());
        assert!(!taken_since(reserve(DeviceFault::Lost)).is::<MemoryTaken>());
    }
}
