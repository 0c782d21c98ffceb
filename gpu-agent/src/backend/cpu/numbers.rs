//! Which rows of a step hold what is no finite number.

use super::{Isa, isa::for_every_isa, pool::Pool, rows::each_row};
use crate::backend::error::NumberError;

/// What a row must stay within.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    /// Finite.
    Finite,
    /// What half precision does not round to ∞.
    Half,
    /// What can be squared and summed over the row.
    Squares,
}

impl Bound {
    /// Bits of the smallest magnitude that is too large; those of ∞ and of every NaN without its sign are larger.
    #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
    fn bits(self, width: usize) -> u32 {
        let limit = match self {
            Self::Finite => f32::INFINITY,
            Self::Half => 65_520.0,
            Self::Squares => (f32::MAX / width as f32).sqrt(),
        };
        limit.to_bits()
    }
}

for_every_isa! {
    /// Largest magnitude of a row as bits, which are in the order of the magnitudes.
    fn largest_bits(row: &[f32]) -> u32 {
        row.iter().fold(0, |largest, value| largest.max(value.to_bits() & !(1 << 31)))
    }
}

/// Rows of the step at hand that have met a NaN or an infinity.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rows: Vec<bool>,
}

impl Faults {
    /// Begins a step of `rows` rows.
    pub(super) fn clear(&mut self, rows: usize) {
        self.rows.clear();
        self.rows.resize(rows, false);
    }

    /// Notes a row.
    pub(super) fn note(&mut self, row: usize) {
        if let Some(fault) = self.rows.get_mut(row) {
            *fault = true;
        }
    }

    /// Notes rows of `[rows, width]` that hold what is out of bounds.
    pub(super) fn inspect(&mut self, pool: &Pool, isa: Isa, values: &[f32], width: usize, bound: Bound) {
        let limit = bound.bits(width);
        let rows = self.rows.len().min(values.len() / width);
        each_row(pool, &mut self.rows[..rows], 1, |row, fault| {
            fault[0] |= largest_bits(isa, &values[row * width..][..width]) >= limit;
        });
    }

    /// As [`Faults::inspect`] where row `i` is that of number `rows[i]` in the batch.
    pub(super) fn inspect_some(
        &mut self,
        isa: Isa,
        values: &[f32],
        width: usize,
        rows: &[u32],
        bound: Bound,
    ) {
        let limit = bound.bits(width);
        for (row, values) in rows.iter().zip(values.chunks_exact(width)) {
            if largest_bits(isa, values) >= limit {
                self.note(*row as usize);
            }
        }
    }

    /// All rows that were noted.
    pub(super) fn check(&self) -> Result<(), NumberError> {
        let rows: Vec<u32> = (0u32..)
            .zip(&self.rows)
            .filter_map(|(row, fault)| fault.then_some(row))
            .collect();
        if rows.is_empty() {
            Ok(())
        } else {
            Err(NumberError { rows })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn rows_with_what_is_not_finite_are_noted_and_no_others() {
        let rows = [
            [0.0, -1.0],
            [f32::NAN, 1.0],
            [1.0, f32::NEG_INFINITY],
            [f32::MAX, f32::MIN],
        ];
        let pool = Pool::start(NonZeroUsize::MIN).expect("threads start");
        for isa in [Isa::Scalar, Isa::detect()] {
            let mut faults = Faults::default();
            faults.clear(4);
            faults.inspect(&pool, isa, rows.as_flattened(), 2, Bound::Finite);
            assert_eq!(faults.check().map_err(|error| error.rows), Err(vec![1, 2]));
            faults.clear(4);
            faults.inspect(&pool, isa, &[1.0, 65_519.0, -65_520.0, 0.0], 1, Bound::Half);
            assert_eq!(faults.check().map_err(|error| error.rows), Err(vec![2]));
            faults.clear(4);
            faults.inspect_some(isa, &[1.0, f32::NAN], 1, &[1, 3], Bound::Finite);
            assert_eq!(faults.check().map_err(|error| error.rows), Err(vec![3]));
            faults.clear(2);
            faults.inspect(&pool, isa, &[1e19, 1.0, 1.4e19, 0.0], 2, Bound::Squares);
            assert_eq!(faults.check().map_err(|error| error.rows), Err(vec![1]));
        }
    }
}
