//! What does not fit, and what would.

use cocoon_api::agent::GpuFault;

use super::place::{Card, Demand, MemoryPlan, SPARE_PART, human};
use crate::model::decoder::needs::Needs;

/// Most cards that a refusal asks for: more than any known rig has.
const MOST_CARDS: usize = 16;

/// A model that does not fit the cards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub struct PlanError {
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes that one card would have to have free, beside what stays spare.
    pub needed: u64,
    /// Tokens of one sequence that were asked for.
    pub context: usize,
    /// The cards.
    pub cards: Vec<Card>,
    /// Longest context that fits; 0 where none does.
    pub fitting_context: usize,
    /// Most sequences with which it fits; 0 where it fits with none.
    pub fitting_sequences: usize,
    /// Bytes of weights that would fit; 0 where none do.
    pub fitting_weights: u64,
    /// How many cards like the one with the most memory would hold it; 0 where more than a rig has are needed.
    pub fitting_cards: usize,
}

/// A bound of working memory and cache that does not hold one sequence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "at most {} of working memory and cache are allowed, and working memory takes {}, keys and values of {context} tokens {}: \
     allow more with --cache-bytes, or ask for a shorter context",
    human(*bytes),
    human(*working),
    human(*cache)
)]
pub struct CacheTooSmall {
    /// What is allowed.
    pub bytes: u64,
    /// What working memory takes.
    pub working: u64,
    /// Tokens of one sequence.
    pub context: usize,
    /// What their keys and values take.
    pub cache: u64,
}

/// Memory that was planned and is no longer free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the plan fitted the memory that was free, and another process has taken of it since: end what else runs on the GPU, \
     nvidia-smi lists it ({cause})"
)]
pub struct MemoryTaken {
    /// What was refused.
    pub cause: String,
}

impl PlanError {
    pub(super) fn new(needs: &dyn Fn(Demand) -> Needs, cards: &[Card], demand: Demand) -> Self {
        let fits = |demand: Demand| MemoryPlan::attempt(needs, cards, demand).is_some();
        let now = needs(demand);
        let whole = now.share(0..now.layers.len(), [true, true]);
        let block_tokens = now.block_tokens.max(1);
        let blocks = demand.context.div_ceil(block_tokens);
        let context = |blocks: usize| (blocks * block_tokens).min(demand.context);
        let fitting_blocks = largest(blocks, |blocks| {
            fits(Demand {
                context: context(blocks),
                ..demand
            })
        });
        let fitting_sequences = largest(demand.sequences, |sequences| fits(Demand { sequences, ..demand }));
        let percent = largest(99, |percent| {
            let scaled = |demand: Demand| scale(needs(demand), percent as u64);
            MemoryPlan::attempt(&scaled, cards, demand).is_some()
        });
        let best = cards.iter().max_by_key(|card| card.free);
        let fitting_cards = best.and_then(|best| {
            (cards.len() + 1..=MOST_CARDS)
                .find(|count| MemoryPlan::attempt(needs, &vec![best.clone(); *count], demand).is_some())
        });
        Self {
            weights: whole.weights,
            needed: whole.weights.saturating_add(whole.room(demand.context, blocks)),
            context: demand.context,
            cards: cards.to_vec(),
            fitting_context: context(fitting_blocks),
            fitting_sequences,
            fitting_weights: whole.weights * percent as u64 / 100,
            fitting_cards: fitting_cards.unwrap_or(0),
        }
    }

    /// The reason in a word: whether others hold so much of the memory that it would do without them.
    pub fn fault(&self) -> GpuFault {
        let whole = |card: &Card| card.total.saturating_sub(card.total / SPARE_PART) >= self.needed;
        if self.cards.iter().any(|card| is_taken(card) && whole(card)) {
            GpuFault::GpuMemoryTaken
        } else {
            GpuFault::GpuMemoryTooSmall
        }
    }

    fn words(&self) -> String {
        let cards: Vec<String> = self.cards.iter().map(describe).collect();
        let what = format!(
            "the model does not fit the memory: with a context of {} tokens it takes {}, of which {} are weights; {}",
            self.context,
            human(self.needed),
            human(self.weights),
            cards.join(", ")
        );
        let ways = self.ways();
        if ways.is_empty() {
            return format!("{what}; use a smaller model");
        }
        format!("{what}; what would fit: {}", ways.join(", or "))
    }

    fn ways(&self) -> Vec<String> {
        let mut ways = Vec::new();
        if self.fault() == GpuFault::GpuMemoryTaken {
            ways.push("a GPU without the other processes, which nvidia-smi lists".to_owned());
        }
        if self.fitting_context > 0 {
            ways.push(format!("a context of {} tokens", self.fitting_context));
        }
        if self.fitting_sequences > 0 {
            ways.push(format!("{} sequences at once", self.fitting_sequences));
        }
        if self.fitting_weights > 0 {
            let bytes = human(self.fitting_weights);
            ways.push(format!("a smaller quantisation, with at most {bytes} of weights"));
        }
        if self.fitting_cards > 0 {
            ways.push(format!("{} such GPUs", self.fitting_cards));
        }
        ways
    }
}

/// A card, and whether somebody else holds a good part of it.
fn describe(card: &Card) -> String {
    let (free, total) = (human(card.free), human(card.total));
    if is_taken(card) {
        let taken = human(card.total.saturating_sub(card.free));
        format!(
            "{} has {free} free of {total}, since other processes hold {taken} of it",
            card.name
        )
    } else {
        format!("{} has {free} free of {total}", card.name)
    }
}

/// Whether other processes hold more of a card than a desktop and this process's own context do.
fn is_taken(card: &Card) -> bool {
    card.total.saturating_sub(card.free) > card.total / 8
}

/// The largest number from 1 to `most` that fits, given that all below one that fits do too; 0 where 1 does not.
fn largest(most: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut good, mut bad) = (0, most + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}

/// With weights of `percent` of their size.
fn scale(needs: Needs, percent: u64) -> Needs {
    let part = |bytes: u64| bytes / 100 * percent + bytes % 100 * percent / 100;
    Needs {
        layers: needs.layers.iter().map(|bytes| part(*bytes)).collect(),
        embedding: part(needs.embedding),
        head: part(needs.head),
        ..needs
    }
}
