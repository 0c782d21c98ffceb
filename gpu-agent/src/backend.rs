//! What computes: the seam between the engine and a machine.
//!
//! The engine hands over a [`Batch`]: new tokens of any number of sequences, prefill and decode mixed, each with
//! the table of cache blocks that hold its keys and values. A [`Backend`] answers with logits. Which machine
//! computes, and how, is not visible from outside; the forward pass itself is written once, over [`ops::Ops`].

pub mod cpu;
pub mod ops;

/// Tokens of one block of the paged key/value cache.
pub const BLOCK_TOKENS: usize = 16;

/// One sequence's part of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSlice {
    /// Row of the batch where the sequence's new tokens begin.
    pub start: usize,
    /// Number of new tokens, at least 1.
    pub tokens: usize,
    /// Tokens of the sequence after this batch: those in the cache before, and the new ones.
    pub length: usize,
    /// Cache blocks of the sequence in order of position; covers `length`.
    pub block_table: Vec<u32>,
}

/// New tokens of some sequences, laid end to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, `[rows]`.
    pub tokens: Vec<u32>,
    /// Position of each token in its sequence, `[rows]`.
    pub positions: Vec<u32>,
    /// The sequences, in order of `start`, covering every row once.
    pub sequences: Vec<SequenceSlice>,
    /// Rows whose logits are wanted, ascending.
    pub logits: Vec<u32>,
}

impl Batch {
    /// Appends the new `tokens` of a sequence that has `cached` tokens in `block_table` already; returns their first row.
    pub fn push(&mut self, tokens: &[u32], cached: usize, block_table: &[u32]) -> usize {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(
            (0u32..)
                .zip(tokens)
                .map(|(offset, _)| offset.saturating_add(row_number(cached))),
        );
        self.sequences.push(SequenceSlice {
            start,
            tokens: tokens.len(),
            length: cached + tokens.len(),
            block_table: block_table.to_vec(),
        });
        start
    }

    /// Asks for the logits of a row.
    pub fn want_logits(&mut self, row: usize) {
        self.logits.push(row_number(row));
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.logits.clear();
    }

    /// Checks the batch against what a backend was sized for, so that kernels may rely on it.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self, limits: &Limits) -> Result<(), BatchError> {
        let rows = self.tokens.len();
        let refuse = |problem: String| Err(BatchError { problem });
        if rows == 0 || rows > limits.rows || self.positions.len() != rows {
            return refuse(format!(
                "{rows} rows with {} positions; 1 to {} fit",
                self.positions.len(),
                limits.rows
            ));
        }
        if let Some(token) = self
            .tokens
            .iter()
            .find(|token| **token as usize >= limits.vocabulary)
        {
            return refuse(format!(
                "token {token} with a vocabulary of {}",
                limits.vocabulary
            ));
        }
        if self.logits.len() > limits.logits || self.logits.iter().any(|row| *row as usize >= rows) {
            return refuse(format!(
                "{} rows of logits out of {rows} rows; {} fit",
                self.logits.len(),
                limits.logits
            ));
        }
        let mut next = 0;
        for sequence in &self.sequences {
            sequence.check(next, &self.positions, limits)?;
            next += sequence.tokens;
        }
        if next != rows {
            return refuse(format!("sequences cover {next} of {rows} rows"));
        }
        Ok(())
    }
}

impl SequenceSlice {
    fn check(&self, start: usize, positions: &[u32], limits: &Limits) -> Result<(), BatchError> {
        let refuse = |problem: String| Err(BatchError { problem });
        let Self { tokens, length, .. } = *self;
        if self.start != start || tokens == 0 || start + tokens > positions.len() || length < tokens {
            return refuse(format!(
                "a sequence of {tokens} new tokens of {length} at row {}, not {start}",
                self.start
            ));
        }
        if length > limits.context || self.block_table.len() * BLOCK_TOKENS < length {
            return refuse(format!(
                "{length} tokens in {} blocks; {} fit",
                self.block_table.len(),
                limits.context
            ));
        }
        if let Some(block) = self
            .block_table
            .iter()
            .find(|block| **block as usize >= limits.blocks)
        {
            return refuse(format!("block {block} of {}", limits.blocks));
        }
        let first = length - tokens;
        let continuous = |(offset, position): (usize, &u32)| *position as usize == first + offset;
        if !positions[start..start + tokens]
            .iter()
            .enumerate()
            .all(continuous)
        {
            return refuse(format!(
                "positions of the sequence at row {start} do not run from {first}"
            ));
        }
        Ok(())
    }
}

/// A row as the batch stores it; batches are far below 2^32 rows.
fn row_number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// What a backend was sized for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of one batch.
    pub rows: usize,
    /// Rows of logits of one batch.
    pub logits: usize,
    /// Tokens of one sequence.
    pub context: usize,
    /// Blocks of the key/value cache, of [`BLOCK_TOKENS`] tokens each.
    pub blocks: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
}

/// A batch that contradicts itself or the backend's limits: a fault of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot compute a batch: {problem}")]
pub struct BatchError {
    problem: String,
}

/// Logits of the rows that a batch asked for.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a> {
    /// `[asked rows, vocabulary]`
    values: &'a [f32],
    vocabulary: usize,
}

impl<'a> Logits<'a> {
    /// Rows of `vocabulary` values each.
    pub fn new(values: &'a [f32], vocabulary: usize) -> Self {
        Self { values, vocabulary }
    }

    /// Logits of the `index`-th row that was asked for.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.vocabulary..][..self.vocabulary]
    }
}

/// A loaded model on some machine.
pub trait Backend: Send {
    /// What it was sized for.
    fn limits(&self) -> &Limits;

    /// Computes one batch: appends keys and values to the cache and returns the logits that were asked for.
    ///
    /// The logits of a row depend on its sequence alone, never on what else is in the batch.
    ///
    /// # Errors
    /// The batch is contradictory; nothing was computed.
    fn forward(&mut self, batch: &Batch) -> Result<Logits<'_>, BatchError>;
}

#[cfg(test)]
mod tests;
