//! Activations in memory.

/// Floats of a cache line.
const LINE_FLOATS: usize = 16;

/// Rows of floats, with room for more.
#[derive(Debug, Default)]
pub struct Tensor {
    /// `[rows, width]` from `start` on, with room for more rows.
    memory: Vec<f32>,
    /// Where a cache line begins: a product writes 16 rows of a token at once, and two lines cost it twice the time.
    start: usize,
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl Tensor {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        let memory = vec![0.0; rows * width + LINE_FLOATS];
        // What cannot be aligned is correct where it is.
        let start = memory.as_ptr().align_offset(LINE_FLOATS * size_of::<f32>());
        Self {
            start: start.min(LINE_FLOATS),
            memory,
            rows,
            width,
        }
    }

    /// Sets the number of rows that hold values, and hands them out.
    pub(super) fn resize(&mut self, rows: usize) -> &mut [f32] {
        self.rows = rows;
        &mut self.memory[self.start..][..rows * self.width]
    }

    /// Sets both extents, of which the room has at least the product, and hands the values out.
    pub(super) fn reshape(&mut self, rows: usize, width: usize) -> &mut [f32] {
        self.width = width;
        self.resize(rows)
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.memory[self.start..][..self.rows * self.width]
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.width..][..self.width]
    }
}
