//! A batch cut into pieces of some rows.

use std::ops::Range;

use super::Batch;

impl Batch {
    /// Makes `piece` the batch of these rows alone, which may begin and end within a sequence; returns which of the
    /// outputs are among them. Computed one after the other, the pieces of a batch leave what it leaves.
    ///
    /// The batch was checked.
    ///
    /// # Panics
    /// There are no such rows.
    pub fn cut(&self, rows: Range<usize>, piece: &mut Batch) -> Range<usize> {
        assert!(rows.end <= self.rows(), "rows beyond a batch");
        piece.clear();
        for part in self.parts() {
            let first = part.start.max(rows.start);
            let end = (part.start + part.tokens).min(rows.end);
            if first < end {
                let before = part.before() + first - part.start;
                piece.push(&self.tokens[first..end], before, part.blocks);
            }
        }
        let place = |row: usize| self.outputs.partition_point(|output| (*output as usize) < row);
        let wanted = place(rows.start)..place(rows.end);
        for row in &self.outputs[wanted.clone()] {
            piece.want(*row as usize - rows.start);
        }
        wanted
    }
}
