//! Counts votes. Pure: who said what goes in, what a majority says comes out.

use super::answer::Answer;
use super::error::Trouble;
use crate::reader::Dated;

/// An endpoint by its place, and what is wrong with what it said.
pub(super) type Objection = (usize, Trouble, String);

/// What the votes come to.
#[derive(Debug)]
pub(super) enum Tally<T> {
    /// So many say this; the others are named.
    Agreed {
        /// What they say.
        value: T,
        /// Those who say something else.
        others: Vec<Objection>,
    },
    /// Too few say the same; everybody's words.
    Split(Vec<Objection>),
}

/// Counts the votes of endpoints, each given with its place. A vote of a block before `floor` does not count.
pub(super) fn tally<T: Answer>(votes: Vec<(usize, Dated<T>)>, needed: usize, floor: u32) -> Tally<T> {
    let counts = |vote: &Dated<T>| vote.block_seqno >= floor;
    let winner = votes.iter().find(|(_, candidate)| {
        let same = votes
            .iter()
            .filter(|(_, vote)| counts(vote) && vote.value.agrees(&candidate.value));
        counts(candidate) && same.count() >= needed
    });
    let Some((_, winner)) = winner.cloned() else {
        let said = votes.into_iter().map(|(place, vote)| {
            let trouble = if counts(&vote) {
                Trouble::Disagrees
            } else {
                Trouble::Lagging
            };
            (place, trouble, words(&vote))
        });
        return Tally::Split(said.collect());
    };
    let (mut value, mut newest) = (winner.value, winner.block_seqno);
    let mut others = Vec::new();
    for (place, vote) in votes {
        if counts(&vote) && vote.value.agrees(&value) {
            newest = newest.max(vote.block_seqno);
            value = value.careful(vote.value);
        } else {
            others.push((place, vote));
        }
    }
    let others = others.into_iter().map(|(place, vote)| {
        let trouble = if vote.block_seqno < newest {
            Trouble::Lagging
        } else {
            Trouble::Disagrees
        };
        (place, trouble, words(&vote))
    });
    Tally::Agreed {
        value,
        others: others.collect(),
    }
}

fn words<T: Answer>(vote: &Dated<T>) -> String {
    match vote.block_seqno {
        // The answer does not depend on a block.
        u32::MAX => vote.value.words(),
        seqno => format!("{} at block {seqno}", vote.value.words()),
    }
}
