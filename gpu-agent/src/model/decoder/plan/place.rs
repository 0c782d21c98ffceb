//! The plan: replicas where a card holds the whole model, else ranges of layers.

use std::ops::Range;

use crate::model::decoder::needs::{Needs, ShareNeed};

/// One part in so many of a card's memory stays free: the code of kernels, their local memory, and what the driver
/// rounds up take some 100 MB of a card of 8 GB.
pub(super) const SPARE_PART: u64 = 64;
/// Steps in which cards are filled evenly: finer ones would move less than a layer of any known model.
const FILL_STEPS: u64 = 256;

/// What is asked of the cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Rows of one batch.
    pub rows: usize,
    /// Sequences that are computed at once, on all cards together.
    pub sequences: usize,
    /// Tokens of one sequence.
    pub context: usize,
}

/// A card's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its number, what the driver calls it, and where it is.
    pub name: String,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that it has.
    pub total: u64,
}

impl Card {
    /// Bytes that a plan may give away.
    pub(super) fn usable(&self) -> u64 {
        self.free.saturating_sub(self.total / SPARE_PART)
    }
}

/// How the cards share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Each card has the whole model, and sequences of its own.
    Replicas,
    /// Each card has a range of layers, and all sequences.
    Layers,
}

/// What one card is to hold, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardPlan {
    /// Which of the cards.
    pub card: usize,
    /// Its layers.
    pub layers: Range<usize>,
    /// Weights.
    pub weights: u64,
    /// Blocks of keys and values.
    pub blocks: usize,
    /// Bytes of these blocks.
    pub cache: u64,
    /// Activations, staged batches, logits and tables.
    pub working: u64,
}

impl CardPlan {
    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.weights + self.cache + self.working
    }
}

/// What every card is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// How the cards share the work.
    pub spread: Spread,
    /// What each engine is sized for: one a card with replicas, else one.
    pub demand: Demand,
    /// Tokens of a block of keys and values.
    pub block_tokens: usize,
    /// The cards that are used, in order; with layers, in order of them.
    pub cards: Vec<CardPlan>,
}

impl MemoryPlan {
    /// A plan, if there is one.
    pub(super) fn attempt(needs: &dyn Fn(Demand) -> Needs, cards: &[Card], demand: Demand) -> Option<Self> {
        replicas(needs, cards, demand).or_else(|| layers(needs, cards, demand))
    }

    /// One line for each card.
    pub fn lines(&self, cards: &[Card]) -> Vec<String> {
        let line = |plan: &CardPlan| {
            let card = &cards[plan.card];
            format!(
                "{}: layers {} to {}, {} of weights, {} of keys and values for {} tokens, {} of working \
                 memory; {} of {} that are free",
                card.name,
                plan.layers.start + 1,
                plan.layers.end,
                human(plan.weights),
                human(plan.cache),
                plan.blocks * self.block_tokens,
                human(plan.working),
                human(plan.bytes()),
                human(card.free),
            )
        };
        self.cards.iter().map(line).collect()
    }
}

/// The whole model on every card that holds it.
fn replicas(needs: &dyn Fn(Demand) -> Needs, cards: &[Card], demand: Demand) -> Option<MemoryPlan> {
    let mut count = cards.len();
    while count > 0 {
        let each = Demand {
            sequences: demand.sequences.div_ceil(count),
            ..demand
        };
        let needs = needs(each);
        let whole = 0..needs.layers.len();
        let share = needs.share(whole.clone(), [true, true]);
        let plans: Vec<CardPlan> = cards
            .iter()
            .enumerate()
            .filter_map(|(index, card)| {
                let blocks = blocks(&needs, each, &share, card)?;
                Some(card_plan(index, whole.clone(), &share, each, blocks))
            })
            .collect();
        if plans.len() >= count {
            return Some(MemoryPlan {
                spread: Spread::Replicas,
                demand: each,
                block_tokens: needs.block_tokens,
                cards: plans,
            });
        }
        // Fewer cards have more sequences each.
        count = plans.len();
    }
    None
}

/// A range of layers on every card, filled as evenly as they can be.
fn layers(needs: &dyn Fn(Demand) -> Needs, cards: &[Card], demand: Demand) -> Option<MemoryPlan> {
    let needs = needs(demand);
    let (least, most) = bounds(&needs, demand);
    let evenly = |blocks: usize| {
        (1..=FILL_STEPS).find_map(|step| {
            let room = |card: &Card| {
                u64::try_from(u128::from(card.usable()) * u128::from(step) / u128::from(FILL_STEPS))
            };
            let rooms: Vec<u64> = cards.iter().map(|card| room(card).unwrap_or(0)).collect();
            fill(&needs, &rooms, demand.context, blocks)
        })
    };
    let ranges = evenly(most).or_else(|| evenly(least))?;
    let shares: Vec<ShareNeed> = ranges
        .iter()
        .map(|(_, layers, ends)| needs.share(layers.clone(), *ends))
        .collect();
    let fitting = ranges
        .iter()
        .zip(&shares)
        .map(|((card, _, _), share)| blocks(&needs, demand, share, &cards[*card]));
    let blocks = fitting.min_by_key(|blocks| blocks.unwrap_or(0))??;
    let plan = |((card, layers, _), share): ((usize, Range<usize>, [bool; 2]), &ShareNeed)| {
        card_plan(card, layers, share, demand, blocks)
    };
    Some(MemoryPlan {
        spread: Spread::Layers,
        demand,
        block_tokens: needs.block_tokens,
        cards: ranges.into_iter().zip(&shares).map(plan).collect(),
    })
}

/// A card, its layers, and whether it is the first and the last.
type Filled = (usize, Range<usize>, [bool; 2]);

/// Fills one card after the other; `None` where some layers are left. Cards without room for a layer are left out.
fn fill(needs: &Needs, rooms: &[u64], context: usize, blocks: usize) -> Option<Vec<Filled>> {
    let count = needs.layers.len();
    let mut filled: Vec<Filled> = Vec::new();
    let mut next = 0;
    for (card, room) in rooms.iter().enumerate() {
        let is_first = filled.is_empty();
        let fits = |end: &usize| {
            let share = needs.share(next..*end, [is_first, *end == count]);
            share.weights.saturating_add(share.room(context, blocks)) <= *room
        };
        // The last card needs more than layers: if all but one layer fit, the last of them goes on.
        if let Some(end) = (next + 1..=count).rev().find(fits) {
            filled.push((card, next..end, [is_first, end == count]));
            next = end;
        }
        if next == count {
            return Some(filled);
        }
    }
    None
}

/// Blocks of one whole context, and of one for every sequence.
fn bounds(needs: &Needs, demand: Demand) -> (usize, usize) {
    let least = demand.context.div_ceil(needs.block_tokens);
    (least, least * demand.sequences.max(1))
}

/// Blocks that fit a card beside the rest of its share; `None` where one context does not.
fn blocks(needs: &Needs, demand: Demand, share: &ShareNeed, card: &Card) -> Option<usize> {
    let (least, most) = bounds(needs, demand);
    let taken = share.weights.saturating_add(share.room(demand.context, least));
    let left = card.usable().checked_sub(taken)?;
    let more = usize::try_from(left / share.block.max(1)).unwrap_or(usize::MAX);
    Some(most.min(least.saturating_add(more)))
}

fn card_plan(
    card: usize,
    layers: Range<usize>,
    share: &ShareNeed,
    demand: Demand,
    blocks: usize,
) -> CardPlan {
    CardPlan {
        card,
        layers,
        weights: share.weights,
        blocks,
        cache: share.block * blocks as u64,
        working: share.room(demand.context, 0),
    }
}

/// Bytes as people read them.
pub fn human(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        None => format!("{bytes} bytes"),
        Some((unit, name)) => {
            let tenths = bytes / (unit / 10).max(1);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}
