//! Activations in memory.

/// Rows of floats, with room for more.
#[derive(Debug, Default)]
pub struct Tensor {
    /// `[rows, width]`, with room for more rows.
    pub(super) values: Vec<f32>,
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl Tensor {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        Self {
            values: vec![0.0; rows * width],
            rows,
            width,
        }
    }

    /// Sets the number of rows that hold values, and hands them out.
    pub(super) fn resize(&mut self, rows: usize) -> &mut [f32] {
        self.rows = rows;
        &mut self.values[..rows * self.width]
    }

    /// Sets both extents, of which the room has at least the product, and hands the values out.
    pub(super) fn reshape(&mut self, rows: usize, width: usize) -> &mut [f32] {
        self.width = width;
        self.resize(rows)
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values[..self.rows * self.width]
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.width..][..self.width]
    }
}
