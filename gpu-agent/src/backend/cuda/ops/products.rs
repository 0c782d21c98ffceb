//! Products: which kernel computes which matrices in one launch.

use crate::backend::cuda::launch::{Activations, Batch, Shape, Target, tensor};
use crate::backend::cuda::layout::{Format, Layout};
use crate::backend::cuda::modules;
use crate::backend::cuda::rates::Unit;
use crate::backend::error::DeviceError;
use crate::backend::ops::Norm;

use super::{CudaOps, FINITE, Matrix, Tensor, arguments, int, square_limit};

/// Matrices of one launch.
const MOST_TARGETS: usize = 3;
/// Warps of a block where there are many rows.
const WARPS_OF_MANY: usize = 2;
/// No activation: plain products.
const NOT_GATED: i32 = -1;

impl CudaOps {
    /// Quantises rows of `x`, normalised if asked for, into the scratch memory for normalised input. `some`: an array
    /// of rows on the card, and how many; else all.
    pub(super) fn normalise(
        &mut self,
        x: &Tensor,
        norm: Option<&Norm<'_, Self>>,
        some: Option<(u64, usize)>,
    ) -> Result<(), DeviceError> {
        let (device, staged, scratch) = self.parts()?;
        let (rows, count) = some.unwrap_or((0, x.rows));
        let arguments = arguments![
            x.address(),
            rows,
            norm.map_or(0, |norm| norm.weight.values.address()),
            norm.map_or(0.0, |norm| norm.epsilon),
            if norm.is_some() {
                square_limit(x.width)
            } else {
                FINITE
            },
            int(x.width),
            0u64,
            scratch.normed.activations(),
            staged.faults
        ];
        device.launch(
            modules::ROWS,
            "norm_quantise",
            Shape::norm_quantise(count, x.width),
            arguments,
        )
    }

    /// Products of one input; neighbours of one format share launches.
    pub(super) fn products(
        &mut self,
        x: Activations,
        rows: usize,
        products: &[(&Matrix, Target)],
    ) -> Result<(), DeviceError> {
        for same in products.chunk_by(|(a, _), (b, _)| a.layout.format == b.layout.format) {
            for few in same.chunks(MOST_TARGETS) {
                self.launch_products(x, rows, few)?;
            }
        }
        Ok(())
    }

    fn launch_products(
        &mut self,
        x: Activations,
        rows: usize,
        products: &[(&Matrix, Target)],
    ) -> Result<(), DeviceError> {
        let layouts: Vec<Layout> = products.iter().map(|(matrix, _)| matrix.layout).collect();
        let mut targets = [Target::default(); MOST_TARGETS];
        for (to, (_, target)) in targets.iter_mut().zip(products) {
            *to = *target;
        }
        let [a, b, c] = targets;
        let (Some(first), [blocks, count]) = (layouts.first(), [layouts[0].blocks, rows].map(int)) else {
            return Ok(());
        };
        let unit = self.units.product(rows);
        if let Unit::Tensor(cores) = unit {
            let fine = targets.iter().any(|target| target.fine != 0);
            let shape = tensor(rows, &layouts, fine);
            let module = cores.module(first.format);
            let arguments = arguments![a, b, c, blocks, x, count];
            return self.device.launch(&module, "tensor", shape, arguments);
        }
        let Some(by) = Split::of(unit, rows, first.format) else {
            return Ok(());
        };
        let groups = layouts.iter().map(Layout::groups).sum();
        let shape = by.batch.product(rows, groups, first.segments(), by.most_warps);
        let arguments = arguments![a, b, c, blocks, x, count, NOT_GATED, Activations::default(), 0u64];
        self.device
            .launch(&by.module, by.batch.kernel(), shape, arguments)
    }

    /// `activation(gate · x) · (up · x)` of the normalised input, quantised into the memory between two products.
    pub(super) fn gated_product(
        &mut self,
        gate: &Matrix,
        up: &Matrix,
        activation: i32,
        rows: usize,
        floats: &Tensor,
    ) -> Result<(), DeviceError> {
        let (_, staged, scratch) = self.parts()?;
        let (faults, x, out) = (
            staged.faults,
            scratch.normed.activations(),
            scratch.between.activations(),
        );
        let other = scratch.floats.address();
        let layout = gate.layout;
        if let Some(by) = Split::of(self.units.product(rows), rows, layout.format)
            && layout == up.layout
        {
            let shape = by
                .batch
                .product(rows, layout.groups(), layout.segments(), by.most_warps);
            let (a, b) = (gate.target(0), up.target(0));
            let (blocks, count) = (int(layout.blocks), int(rows));
            let arguments = arguments![a, b, Target::default(), blocks, x, count, activation, out, faults];
            return self
                .device
                .launch(&by.module, by.batch.kernel(), shape, arguments);
        }
        let targets = [(gate, gate.target(floats.address())), (up, up.target(other))];
        self.products(x, rows, &targets)?;
        let width = layout.rows;
        let arguments = arguments![
            floats.address(),
            other,
            int(width),
            int(width),
            activation,
            out,
            faults
        ];
        self.device.launch(
            modules::ROWS,
            "gate_quantise",
            Shape::gate(rows, width),
            arguments,
        )
    }
}

/// A kernel whose blocks have segments side by side.
struct Split {
    module: String,
    batch: Batch,
    most_warps: usize,
}

impl Split {
    /// That of a unit, unless it computes by large tiles.
    fn of(unit: Unit, rows: usize, format: Format) -> Option<Self> {
        match unit {
            Unit::Dot(dot) => Some(Self {
                module: dot.module(format),
                batch: Batch::of(rows, dot.has_all_batches()),
                // With few rows the segments are computed side by side; with many the rows fill the card.
                most_warps: if rows <= Batch::Eight.rows() {
                    dot.most_warps()
                } else {
                    WARPS_OF_MANY
                },
            }),
            Unit::Few(cores) => Some(Self {
                module: cores.few(format),
                batch: Batch::few(rows),
                most_warps: usize::MAX,
            }),
            Unit::Tensor(_) => None,
        }
    }
}
