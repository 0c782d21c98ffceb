//! What a batch takes from the host: one array, copied once when the batch begins; and what a step leaves for it.

mod results;

use super::device::{Buffer, Device};
use super::launch::{CHUNK, QUERY_TILE, Spec};
use super::pinned::Pinned;
use super::recording::Key;
use crate::backend::error::{AllocationError, DeviceError};
use crate::backend::limits::Limits;
use crate::backend::sample::{SampleSpec, SeenToken};
use crate::backend::{batch::Batch, sampling::random};
pub(super) use results::Results;

/// Words to whose multiples parts are aligned: specifications hold 64-bit numbers.
const ALIGNMENT: usize = 4;
/// The most page-locked memory that the batches of a step are copied from, on each card: the tables of 500 sequences
/// with 8,000 tokens each take a quarter of it. When it is full, the host waits for the card.
const MOST_OUTGOING_BYTES: usize = 4 << 20;
/// The microbatches of a step have a sequence twice where they cut it, so that they take less than twice what one batch
/// does.
const CUT: usize = 2;

/// The staged batch: where each part lies on the card, and what launches need to know of it.
pub(super) struct Staged {
    buffer: Buffer,
    /// The array on the host, kept for its memory.
    words: Vec<u32>,
    /// Page-locked memory from which arrays are copied, so that the host need not wait for the card.
    outgoing: Pinned,
    /// Bytes of it from which copies may still be under way.
    sent: usize,
    /// What the step's batches leave.
    pub(super) results: Results,
    /// Whether the batch's results were not collected yet.
    uncollected: bool,
    /// For which heads, and for which sequences, there are tiles of this batch on the card, and how many.
    tiles: Option<(usize, bool, usize)>,
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
        let outgoing_bytes = (CUT * words * 4).min(MOST_OUTGOING_BYTES);
        Ok(Self {
            buffer: device.allocate(words * 4, "a step's input")?,
            words: Vec::with_capacity(words),
            outgoing: device.pinned(outgoing_bytes).map_err(|error| AllocationError {
                what: error.what,
                bytes: outgoing_bytes as u64,
                available: device.memory().0,
                fault: error.fault,
            })?,
            sent: 0,
            results: Results::new(device, limits)?,
            uncollected: false,
            tiles: None,
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

    /// Stages the step's next batch; `samples` is where what was chosen for the one before lies.
    pub(super) fn stage(
        &mut self,
        device: &Device,
        batch: &Batch,
        specs: &[SampleSpec<'_>],
        vocabulary: usize,
        samples: &Buffer,
    ) -> Result<(), DeviceError> {
        self.collect(device, samples)?;
        self.batch.clone_from(batch);
        self.tiles = None;
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
        self.uncollected = true;
        send(
            &mut self.outgoing,
            &mut self.sent,
            device,
            &mut self.buffer,
            &bytes,
        )
    }

    /// Starts the copies of what the batch leaves, if that was not done.
    pub(super) fn collect(&mut self, device: &Device, samples: &Buffer) -> Result<(), DeviceError> {
        if !std::mem::take(&mut self.uncollected) {
            return Ok(());
        }
        let samples = (self.spec_count > 0).then_some(samples);
        let flags = (&self.buffer, 4 * self.faults_offset);
        self.results.collect(device, &self.batch, flags, samples)
    }

    /// Ends the step: all work was waited for.
    pub(super) fn end(&mut self) {
        self.results.clear();
        self.uncollected = false;
        self.sent = 0;
    }

    /// Brings tiles of query heads for `attend_rows` to the card, unless they are there: `group` heads share a key
    /// head, and `all` sequences have tiles, or those with more than one new token. Returns how many tiles there are;
    /// `None` where there is no room for them.
    pub(super) fn bring_tiles(
        &mut self,
        device: &Device,
        to: &mut Buffer,
        group: usize,
        all: bool,
    ) -> Result<Option<usize>, DeviceError> {
        if let Some((known, whole, count)) = self.tiles
            && (known, whole) == (group, all)
        {
            return Ok(Some(count));
        }
        let tiles = self.tiles_of(group, all);
        let bytes: Vec<u8> = tiles.iter().flat_map(|word| word.to_le_bytes()).collect();
        if bytes.len() > to.bytes() {
            return Ok(None);
        }
        send(&mut self.outgoing, &mut self.sent, device, to, &bytes)?;
        let count = tiles.len() / 2;
        self.tiles = Some((group, all, count));
        Ok(Some(count))
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
                    .flat_map(|SeenToken { token, completion }| [*token, *completion]),
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

    /// What launches of this step depend on beside the staged numbers; none where sequences have more than one new
    /// token.
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

    /// Tiles of query heads: sequence and first pair of each.
    fn tiles_of(&self, group: usize, all: bool) -> Vec<u32> {
        let mut tiles = Vec::new();
        for sequence in 0..self.batch.sequences() {
            let tokens = self.batch.part(sequence).tokens;
            if all || tokens > 1 {
                let firsts = (0..tokens * group).step_by(QUERY_TILE);
                tiles.extend(firsts.flat_map(|first| [number(sequence), number(first)]));
            }
        }
        tiles
    }
}

/// Starts the copy of bytes to the beginning of a buffer, by way of page-locked memory of which `sent` bytes are in
/// use. Where there is no room left, the card is waited for.
fn send(
    through: &mut Pinned,
    sent: &mut usize,
    device: &Device,
    to: &mut Buffer,
    bytes: &[u8],
) -> Result<(), DeviceError> {
    let room = through.bytes().len();
    for (piece, offset) in bytes.chunks(room.max(1)).zip((0..).step_by(room.max(1))) {
        if piece.len() > room - *sent {
            device.synchronize()?;
            *sent = 0;
        }
        let part = *sent..*sent + piece.len();
        through.bytes_mut()[part.clone()].copy_from_slice(piece);
        device.start_upload(through, part, to, offset)?;
        *sent += piece.len();
    }
    Ok(())
}

/// Numbers of rows, blocks and tokens are far below 2³².
pub(super) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
