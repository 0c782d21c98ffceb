//! Products of activations with matrices of any encoding, shared out among threads.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use super::{
    Isa, Precision, Tensor,
    activations::Activations,
    elementwise::dot,
    isa::for_every_isa,
    packed::{self, Arena, Packed, ROWS},
    pool::{Parts, Pool},
};
use crate::{
    backend::{error::AllocationError, ops::Care},
    weights::{file::RawMatrix, quants::dequantise},
};

/// Chunks of a product for each thread: enough that a thread which lost its core leaves little work behind.
const CHUNKS_PER_THREAD: usize = 4;

/// A weight matrix.
#[derive(Debug)]
pub struct Matrix(Encoding);

#[derive(Debug)]
enum Encoding {
    /// As in the file; decoded row by row and multiplied in floats.
    Raw(RawMatrix),
    /// Repacked; multiplied in integers.
    Packed(Packed),
}

impl Matrix {
    /// # Errors
    /// The process may not map as much memory as the repacked matrix takes.
    pub(super) fn new(
        raw: RawMatrix,
        precision: Precision,
        care: Care,
        arena: &mut Arena,
    ) -> Result<Self, AllocationError> {
        Ok(Self(match precision {
            Precision::Exact => Encoding::Raw(raw),
            Precision::Fast => Encoding::Packed(Packed::new(&raw, care, arena)?),
        }))
    }

    /// How finely products want their activations quantised, if at all.
    pub(super) fn quantised_care(&self) -> Option<Care> {
        match &self.0 {
            Encoding::Raw(_) => None,
            Encoding::Packed(packed) => Some(packed.care()),
        }
    }

    /// Decodes one row.
    pub(super) fn decode_row(&self, row: usize, out: &mut [f32]) {
        match &self.0 {
            Encoding::Raw(raw) => dequantise(raw.kind, raw.row(row), out),
            Encoding::Packed(packed) => packed.decode_row(row, out),
        }
    }

    fn rows(&self) -> usize {
        match &self.0 {
            Encoding::Raw(raw) => raw.rows,
            Encoding::Packed(packed) => packed.rows(),
        }
    }
}

/// Where a product goes.
pub(super) struct Output<'a> {
    pub(super) matrix: &'a Matrix,
    pub(super) bias: Option<&'a [f32]>,
    /// Whether the product is added to what `out` holds.
    pub(super) add: bool,
    /// `[rows of x, rows of matrix]`
    pub(super) out: &'a mut [f32],
}

/// Working memory of each thread.
pub(super) struct Scratch(Vec<Mutex<Room>>);

#[derive(Default)]
struct Room {
    /// A decoded row.
    row: Vec<f32>,
    packed: packed::Room,
}

impl Scratch {
    pub(super) fn new(threads: NonZeroUsize) -> Self {
        Self((0..threads.get()).map(|_| Mutex::default()).collect())
    }
}

/// One product being computed.
struct Target<'a> {
    matrix: &'a Matrix,
    bias: Option<&'a [f32]>,
    add: bool,
    out: Parts<'a, f32>,
}

/// Computes products that share the input `x`, whose quantised form `activations` is up to date if any matrix needs it.
pub(super) fn multiply(
    pool: &Pool,
    isa: Isa,
    scratch: &Scratch,
    x: &Tensor,
    activations: &Activations,
    products: &mut [Output<'_>],
) {
    let targets: Vec<Target<'_>> = products
        .iter_mut()
        .map(
            |Output {
                 matrix,
                 bias,
                 add,
                 out,
             }| Target {
                matrix,
                bias: *bias,
                add: *add,
                out: Parts::new(out),
            },
        )
        .collect();
    let groups: usize = targets.iter().map(Target::groups).sum();
    let per_chunk = groups.div_ceil(pool.threads() * CHUNKS_PER_THREAD).max(1);
    pool.run(groups.div_ceil(per_chunk), &|thread, chunk| {
        for index in chunk * per_chunk..groups.min((chunk + 1) * per_chunk) {
            let mut group = index;
            for target in &targets {
                if group < target.groups() {
                    let room = &mut *scratch.0[thread].lock().unwrap_or_else(PoisonError::into_inner);
                    match &target.matrix.0 {
                        Encoding::Packed(packed) => {
                            target.packed(isa, packed, group, activations, x.rows, &mut room.packed);
                        }
                        Encoding::Raw(raw) => target.raw(isa, raw, group, x, &mut room.row),
                    }
                    break;
                }
                group -= target.groups();
            }
        }
    });
}

for_every_isa! {
    /// Puts sums of each token at 16 rows from `first` on.
    fn write_whole(target: &Target<'_>, first: usize, sums: &[[f32; ROWS]]) {
        let rows = target.matrix.rows();
        let bias = target.bias.and_then(|bias| bias[first..].first_chunk::<ROWS>());
        for (token, sums) in sums.iter().enumerate() {
            // SAFETY: every group belongs to one chunk, and these rows to one group.
            let out = unsafe { target.out.part(token * rows + first, ROWS) };
            let Some(out) = out.first_chunk_mut::<ROWS>() else { return };
            let mut products = *sums;
            if let Some(bias) = bias {
                products.iter_mut().zip(bias).for_each(|(product, bias)| *product += bias);
            }
            if target.add {
                products.iter_mut().zip(&*out).for_each(|(product, before)| *product += before);
            }
            *out = products;
        }
    }
}

impl Target<'_> {
    /// Groups of 16 rows.
    fn groups(&self) -> usize {
        self.matrix.rows().div_ceil(ROWS)
    }

    fn packed(
        &self,
        isa: Isa,
        packed: &Packed,
        group: usize,
        activations: &Activations,
        tokens: usize,
        room: &mut packed::Room,
    ) {
        packed.multiply(isa, group, activations, tokens, room);
        let (first, sums) = (group * ROWS, &room.sums()[..tokens]);
        if first + ROWS <= self.matrix.rows() {
            return write_whole(isa, self, first, sums);
        }
        for (token, sums) in sums.iter().enumerate() {
            self.write(token, first, sums);
        }
    }

    fn raw(&self, isa: Isa, raw: &RawMatrix, group: usize, x: &Tensor, decoded: &mut Vec<f32>) {
        decoded.resize(raw.columns, 0.0);
        for row in group * ROWS..raw.rows.min((group + 1) * ROWS) {
            dequantise(raw.kind, raw.row(row), decoded);
            for (token, input) in x.values().chunks_exact(raw.columns).enumerate() {
                self.write(token, row, &[dot(isa, decoded, input)]);
            }
        }
    }

    /// Puts `sums` at rows from `first` on of a token; what lies beyond the matrix is padding.
    #[expect(unsafe_code, reason = "threads write disjoint rows of one output")]
    fn write(&self, token: usize, first: usize, sums: &[f32]) {
        let rows = self.matrix.rows();
        let length = sums.len().min(rows - first);
        // SAFETY: every group belongs to one chunk, and these rows to one group.
        let out = unsafe { self.out.part(token * rows + first, length) };
        for (index, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
            let product = self.bias.map_or(*sum, |bias| sum + bias[first + index]);
            *out = if self.add { *out + product } else { product };
        }
    }
}
