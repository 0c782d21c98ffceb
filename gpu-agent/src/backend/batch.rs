//! New tokens of some sequences, laid end to end in flat arrays.

mod cut;

use super::{error::BatchError, limits::Limits, sample::SampleSpec};

/// New tokens of some sequences, laid end to end.
///
/// Everything is a flat array of 32-bit numbers, so that a device can be handed the whole batch in a few copies of
/// known size. The arrays are kept from batch to batch: filling one allocates nothing once they have grown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, `[rows]`.
    pub tokens: Vec<u32>,
    /// Position of each token in its sequence, `[rows]`.
    pub positions: Vec<u32>,
    /// Where each token's keys and values go: block · tokens of a block + place within the block, `[rows]`.
    pub slots: Vec<u32>,
    /// First row of each sequence, and the number of rows, `[sequences + 1]`.
    pub starts: Vec<u32>,
    /// Tokens of each sequence after this batch: those in the cache before, and the new ones; `[sequences]`.
    pub lengths: Vec<u32>,
    /// Cache blocks of every sequence in order of position, one table after the other.
    pub blocks: Vec<u32>,
    /// Where each sequence's table starts in `blocks`, and the length of `blocks`, `[sequences + 1]`.
    pub tables: Vec<u32>,
    /// Rows whose logits or next token are wanted, ascending.
    pub outputs: Vec<u32>,
    block_tokens: usize,
}

/// One sequence's part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Row where its new tokens begin.
    pub start: usize,
    /// Number of new tokens.
    pub tokens: usize,
    /// Tokens after this batch.
    pub length: usize,
    /// Its cache blocks in order of position.
    pub blocks: &'a [u32],
}

impl Part<'_> {
    /// Tokens that were in the cache before.
    pub fn before(&self) -> usize {
        self.length - self.tokens
    }
}

impl Batch {
    /// An empty batch for a cache of `block_tokens` tokens a block.
    ///
    /// # Panics
    /// `block_tokens` is zero.
    pub fn new(block_tokens: usize) -> Self {
        assert!(block_tokens > 0, "a block holds at least one token");
        Self {
            tokens: Vec::new(),
            positions: Vec::new(),
            slots: Vec::new(),
            starts: vec![0],
            lengths: Vec::new(),
            blocks: Vec::new(),
            tables: vec![0],
            outputs: Vec::new(),
            block_tokens,
        }
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        let Self {
            tokens,
            positions,
            slots,
            starts,
            lengths,
            blocks,
            tables,
            outputs,
            block_tokens: _,
        } = self;
        for rows in [tokens, positions, slots, lengths, blocks, outputs] {
            rows.clear();
        }
        for bounds in [starts, tables] {
            bounds.truncate(1);
        }
    }

    /// Appends the new `tokens` of a sequence that has `cached` tokens in the blocks of `table` already; returns their
    /// first row. Only the blocks that are needed are copied.
    pub fn push(&mut self, tokens: &[u32], cached: usize, table: &[u32]) -> usize {
        let start = self.tokens.len();
        let length = cached + tokens.len();
        for (position, token) in (cached..).zip(tokens) {
            // A table that is too short is found by `check`; a slot beyond every cache stands in for it.
            let slot = table
                .get(position / self.block_tokens)
                .map_or(usize::MAX, |block| {
                    *block as usize * self.block_tokens + position % self.block_tokens
                });
            self.tokens.push(*token);
            self.positions.push(number(position));
            self.slots.push(number(slot));
        }
        let used = table.len().min(length.div_ceil(self.block_tokens));
        self.blocks.extend_from_slice(&table[..used]);
        self.starts.push(number(self.tokens.len()));
        self.tables.push(number(self.blocks.len()));
        self.lengths.push(number(length));
        start
    }

    /// Asks for the logits or the next token of a row.
    pub fn want(&mut self, row: usize) {
        self.outputs.push(number(row));
    }

    /// Tokens of a block of the cache.
    pub fn block_tokens(&self) -> usize {
        self.block_tokens
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.lengths.len()
    }

    /// One sequence's part.
    pub fn part(&self, sequence: usize) -> Part<'_> {
        let bounds = |of: &[u32]| of[sequence] as usize..of[sequence + 1] as usize;
        let rows = bounds(&self.starts);
        Part {
            start: rows.start,
            tokens: rows.len(),
            length: self.lengths[sequence] as usize,
            blocks: &self.blocks[bounds(&self.tables)],
        }
    }

    /// All sequences' parts, in order of rows.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        (0..self.sequences()).map(|sequence| self.part(sequence))
    }

    /// The sequence that a row belongs to.
    pub fn sequence_of(&self, row: u32) -> Option<usize> {
        let after = self.starts.partition_point(|start| *start <= row);
        after
            .checked_sub(1)
            .filter(|sequence| *sequence < self.sequences())
    }

    /// Checks the batch against what a backend was sized for, so that kernels may rely on it.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self, limits: &Limits) -> Result<(), BatchError> {
        self.check_rows(limits)?;
        self.check_sequences(limits)?;
        let mut next = 0;
        for index in 0..self.sequences() {
            self.check_part(index, next, limits)?;
            next = self.starts[index + 1] as usize;
        }
        Ok(())
    }

    /// Checks that there is one specification in range for every output.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check_specs(&self, specs: &[SampleSpec<'_>], limits: &Limits) -> Result<(), BatchError> {
        if specs.len() != self.outputs.len() {
            return refuse(format!(
                "{} specifications of samples for {} outputs",
                specs.len(),
                self.outputs.len()
            ));
        }
        specs.iter().try_for_each(|spec| spec.check(limits.vocabulary))
    }

    fn check_rows(&self, limits: &Limits) -> Result<(), BatchError> {
        let rows = self.rows();
        if rows == 0 || rows > limits.rows || self.positions.len() != rows || self.slots.len() != rows {
            return refuse(format!(
                "{rows} rows with {} positions and {} slots; 1 to {} fit",
                self.positions.len(),
                self.slots.len(),
                limits.rows
            ));
        }
        let known = |token: &u32| (*token as usize) < limits.vocabulary;
        if !self.tokens.iter().all(known) {
            return refuse(format!("a token beyond the vocabulary of {}", limits.vocabulary));
        }
        let ascending = self.outputs.is_sorted_by(|a, b| a < b);
        let last = self.outputs.last().is_none_or(|row| (*row as usize) < rows);
        if self.outputs.len() > limits.outputs || !ascending || !last {
            return refuse(format!(
                "{} outputs of {rows} rows, not at most {} ascending ones",
                self.outputs.len(),
                limits.outputs
            ));
        }
        Ok(())
    }

    fn check_sequences(&self, limits: &Limits) -> Result<(), BatchError> {
        if self.block_tokens != limits.block_tokens {
            return refuse(format!(
                "blocks of {} tokens for a cache with blocks of {}",
                self.block_tokens, limits.block_tokens
            ));
        }
        let sequences = self.sequences();
        let spans = |bounds: &[u32], of: usize| {
            bounds.len() == sequences + 1
                && bounds.first() == Some(&0)
                && bounds.last().is_some_and(|last| *last as usize == of)
                && bounds.is_sorted()
        };
        if !spans(&self.starts, self.rows()) || !spans(&self.tables, self.blocks.len()) {
            return refuse(format!(
                "{sequences} sequences do not cover {} rows and {} blocks in order",
                self.rows(),
                self.blocks.len()
            ));
        }
        if !self.blocks.iter().all(|block| (*block as usize) < limits.blocks) {
            return refuse(format!("a block beyond the {} of the cache", limits.blocks));
        }
        Ok(())
    }

    fn check_part(&self, index: usize, next: usize, limits: &Limits) -> Result<(), BatchError> {
        let Part {
            start,
            tokens,
            length,
            blocks,
        } = self.part(index);
        if start != next || tokens == 0 || length < tokens || length > limits.context {
            return refuse(format!(
                "a sequence of {tokens} new tokens of {length} at row {start}; {} fit",
                limits.context
            ));
        }
        if blocks.len() != limits.blocks_for(length) {
            return refuse(format!("{length} tokens in {} blocks", blocks.len()));
        }
        let first = length - tokens;
        for (row, position) in (start..start + tokens).zip(first..) {
            let slot = blocks[position / self.block_tokens] as usize * self.block_tokens
                + position % self.block_tokens;
            if self.positions[row] as usize != position || self.slots[row] as usize != slot {
                return refuse(format!(
                    "row {row} has position {} and slot {}, not {position} and {slot}",
                    self.positions[row], self.slots[row]
                ));
            }
        }
        Ok(())
    }
}

fn refuse(problem: String) -> Result<(), BatchError> {
    Err(BatchError { problem })
}

/// A number as the batch stores it. What does not fit is far beyond every limit, and stays so.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
