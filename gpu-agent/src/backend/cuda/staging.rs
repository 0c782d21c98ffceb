//! What a step takes from the host: one array, copied once when the step begins.

use super::device::{Buffer, Device};
use super::launch::{CHUNK, QUERY_TILE, Spec};
use super::recording::Key;
use crate::backend::error::{AllocationError, DeviceError};
use crate::backend::limits::Limits;
use crate::backend::sample::{SampleSpec, Seen};
use crate::backend::{batch::Batch, sampling::random};

/// Words to whose multiples parts are aligned: specifications hold 64-bit numbers.
const ALIGNMENT: usize = 4;

/// The staged batch: where each part lies on the card, and what launches need to know of it.
pub(super) struct Staged {
    buffer: Buffer,
    /// The array on the host, kept for its memory.
    words: Vec<u32>,
    batch: Batch,
    pub(super) tokens: u64,
    pub(super) positions: u64,
    pub(super) slots: u64,
    pub(super) starts: u64,
    pub(super) tables: u64,
    pub(super) blocks: u64,
    pub(super) outputs: u64,
    /// Rows and sequences of those that have one new token.
    pub(super) single_rows: u64,
    pub(super) single_sequences: u64,
    /// Sequences with one new token.
    pub(super) singles: usize,
    /// Chunks of the longest of them; where all sequences have one new token, rounded up so that few numbers occur.
    pub(super) chunks: usize,
    most_chunks: usize,
    mask_words: usize,
    spec_count: usize,
    pub(super) specs: u64,
    pub(super) seen: u64,
    pub(super) masks: u64,
    /// One flag a row: whether it met a number that is not finite.
    pub(super) faults: u64,
    faults_offset: usize,
}

impl Staged {
    /// The most words that a batch within `limits` takes.
    pub(super) fn words(limits: &Limits) -> usize {
        let Limits {
            rows,
            outputs,
            context,
            vocabulary,
            ..
        } = *limits;
        // Tables are padded to whole chunks, which have four blocks.
        let each_row = 8 + limits.blocks_for(context) + CHUNK / limits.block_tokens.max(1);
        let each_output = Spec::WORDS + 1 + vocabulary.div_ceil(32) + 2 * context.min(vocabulary);
        // Twelve parts, each aligned.
        (rows + 1) * each_row + outputs * each_output + 12 * ALIGNMENT
    }

    pub(super) fn new(device: &Device, limits: &Limits) -> Result<Self, AllocationError> {
        let words = Self::words(limits);
        Ok(Self {
            buffer: device.allocate(words * 4, "a step's input")?,
            words: Vec::with_capacity(words),
            batch: Batch::new(limits.block_tokens),
            tokens: 0,
            positions: 0,
            slots: 0,
            starts: 0,
            tables: 0,
            blocks: 0,
            outputs: 0,
            single_rows: 0,
            single_sequences: 0,
            singles: 0,
            chunks: 0,
            most_chunks: limits.context.div_ceil(CHUNK),
            mask_words: 0,
            spec_count: 0,
            specs: 0,
            seen: 0,
            masks: 0,
            faults: 0,
            faults_offset: 0,
        })
    }

    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }

    pub(super) fn stage(
        &mut self,
        device: &Device,
        batch: &Batch,
        specs: &[SampleSpec<'_>],
        vocabulary: usize,
    ) -> Result<(), DeviceError> {
        self.batch.clone_from(batch);
        self.words.clear();
        self.tokens = self.put(&batch.tokens);
        self.positions = self.put(&batch.positions);
        self.slots = self.put(&batch.slots);
        self.starts = self.put(&batch.starts);
        self.tables = self.put(&batch.tables);
        let single = |sequence: &usize| batch.part(*sequence).tokens == 1;
        let singles: Vec<usize> = (0..batch.sequences()).filter(single).collect();
        self.singles = singles.len();
        let longest = singles.iter().map(|sequence| batch.part(*sequence).length).max();
        self.chunks = longest.unwrap_or(0).div_ceil(CHUNK);
        let decodes = self.singles == batch.rows();
        if decodes {
            self.chunks = self.chunks.next_power_of_two().min(self.most_chunks);
        }
        self.blocks = self.put(&batch.blocks);
        if decodes {
            // What follows has its place whatever the lengths of the sequences are.
            let most = self.singles * self.chunks * CHUNK.div_ceil(batch.block_tokens());
            let missing = most.saturating_sub(batch.blocks.len());
            self.words.resize(self.words.len() + missing, 0);
        }
        self.outputs = self.put(&batch.outputs);
        let rows: Vec<u32> = singles.iter().map(|sequence| batch.starts[*sequence]).collect();
        self.single_rows = self.put(&rows);
        let numbers: Vec<u32> = singles.iter().map(|sequence| number(*sequence)).collect();
        self.single_sequences = self.put(&numbers);
        self.faults = self.put(&vec![0; batch.rows()]);
        self.faults_offset = self.words.len() - batch.rows();
        self.put_specs(specs, vocabulary);
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        device.upload(&mut self.buffer, 0, &bytes)
    }

    fn put_specs(&mut self, specs: &[SampleSpec<'_>], vocabulary: usize) {
        let (mut words, mut seen, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        let mask_words = vocabulary.div_ceil(32);
        for spec in specs {
            let mut found = Spec::of(&spec.sampling, random(spec.sampling.seed, spec.index));
            found.seen_start = number(seen.len() / 2);
            found.seen_count = number(spec.seen.len());
            seen.extend(
                spec.seen
                    .iter()
                    .flat_map(|Seen { token, completion }| [*token, *completion]),
            );
            if let Some(allowed) = spec.allowed {
                found.mask = number(masks.len() / mask_words);
                let padded = allowed.words.iter().copied().chain(std::iter::repeat(0));
                masks.extend(padded.take(mask_words));
            }
            words.extend(found.words());
        }
        self.spec_count = specs.len();
        self.mask_words = masks.len();
        self.specs = self.put(&words);
        self.masks = self.put(&masks);
        // The last part: its length is free.
        self.seen = self.put(&seen);
    }

    /// What launches of this step depend on beside the staged numbers; none where sequences have more than one new token.
    pub(super) fn key(&self) -> Option<Key> {
        (self.singles == self.batch.rows()).then_some(Key {
            rows: self.singles,
            outputs: self.batch.outputs.len(),
            specs: self.spec_count,
            chunks: self.chunks,
            mask_words: self.mask_words,
        })
    }

    /// Appends a part, and returns where it will lie on the card.
    fn put(&mut self, part: &[u32]) -> u64 {
        let start = self.words.len().next_multiple_of(ALIGNMENT);
        self.words.resize(start, 0);
        self.words.extend_from_slice(part);
        self.buffer.address() + 4 * start as u64
    }

    /// Tiles of query heads for `attend_rows`, of the sequences that `wanted` names: sequence and first pair of each.
    pub(super) fn tiles(&self, group: usize, wanted: impl Fn(usize) -> bool) -> Vec<u32> {
        let mut tiles = Vec::new();
        for sequence in (0..self.batch.sequences()).filter(|sequence| wanted(*sequence)) {
            for first in (0..self.batch.part(sequence).tokens * group).step_by(QUERY_TILE) {
                tiles.extend([number(sequence), number(first)]);
            }
        }
        tiles
    }

    /// Rows of the batch that met a number that is not finite.
    pub(super) fn read_faults(&self, device: &Device) -> Result<Vec<u32>, DeviceError> {
        let mut bytes = vec![0; 4 * self.batch.rows()];
        device.download(&self.buffer, 4 * self.faults_offset, &mut bytes)?;
        let flagged = bytes.as_chunks::<4>().0.iter().zip(0..);
        Ok(flagged
            .filter(|(flag, _)| u32::from_le_bytes(**flag) != 0)
            .map(|(_, row)| row)
            .collect())
    }
}

/// Numbers of rows, blocks and tokens are far below 2³².
pub(super) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
