//! Products with quantised matrices, by every unit that a card has.

use super::bench::{Bench, difference};
use super::random::Random;
use super::{Depth, MatrixShape};
use crate::backend::arithmetic::{Quantised, gelu, product, quantise, silu};
use crate::backend::cuda::launch::{Activations, Batch, TENSOR_ROWS, Target, arguments, int, tensor};
use crate::backend::cuda::layout::{LANES, Layout};
use crate::backend::cuda::modules::{Dot, Tensor};
use crate::backend::cuda::rates::{Unit, Units};
use crate::backend::error::DeviceError;
use crate::backend::ops::Activation;
use crate::weights::file::RawMatrix;
use crate::weights::quants::{Block, each_block};

/// Rows that fill one large tile and a part of another, and at the start of a pod, where the twin's time counts, part
/// of one.
const TILED_ROWS: [usize; 2] = [70, 33];
/// Rows that fill one small tile and a part of another, and more than one pair of them.
const FEW: [usize; 2] = [11, 20];

/// Rows of activations, quantised on the host without and with residuals.
struct Rows {
    plain: Vec<Vec<Quantised>>,
    fine: Vec<Vec<Quantised>>,
}

impl Rows {
    fn new(random: &mut Random, rows: usize, columns: usize) -> Self {
        let values: Vec<Vec<f32>> = (0..rows).map(|_| random.floats(columns)).collect();
        let quantised = |fine| {
            let row = |row: &Vec<f32>| row.chunks(32).map(|group| quantise(group, fine)).collect();
            values.iter().map(row).collect()
        };
        Self {
            plain: quantised(false),
            fine: quantised(true),
        }
    }

    fn upload(&self, bench: &mut Bench<'_>) -> Result<Activations, DeviceError> {
        bench.upload_groups(&self.plain.concat(), Some(&self.fine.concat()))
    }

    /// `[rows, rows of the matrix]`
    fn product(&self, matrix: &RawMatrix, fine: bool) -> Vec<f32> {
        let blocks: Vec<Vec<Block>> = (0..matrix.rows)
            .map(|row| {
                let mut blocks = Vec::new();
                each_block(matrix.kind, matrix.row(row), |_, block| {
                    blocks.push(block.clone());
                });
                blocks
            })
            .collect();
        let groups = if fine { &self.fine } else { &self.plain };
        let one = |x: &Vec<Quantised>| blocks.iter().map(|row| product(row, x, fine)).collect::<Vec<_>>();
        groups.iter().flat_map(one).collect()
    }
}

/// What is checked at a depth: units, with rows.
fn cases(bench: &Bench<'_>, units: &Units, depth: Depth) -> Vec<(Unit, usize)> {
    let cores = Tensor::of(bench.capability());
    match depth {
        Depth::Quick => {
            let few = [1, 2, Batch::Eight.rows(), FEW[0]].map(|rows| (units.product(rows), rows));
            let many = (units.product(TENSOR_ROWS), TILED_ROWS[1]);
            few.into_iter().chain([many]).collect()
        }
        Depth::Full => {
            let batches = |dot: Dot| {
                if dot.has_all_batches() {
                    &[1, 2, 4, 8][..]
                } else {
                    &[1, 4]
                }
            };
            Dot::ALL
                .into_iter()
                .flat_map(|dot| batches(dot).iter().map(move |rows| (Unit::Dot(dot), *rows)))
                .chain(cores.into_iter().flat_map(|cores| {
                    let few = [3, FEW[0], FEW[1]].map(|rows| (Unit::Few(cores), rows));
                    few.into_iter().chain([(Unit::Tensor(cores), TILED_ROWS[0])])
                }))
                .collect()
        }
    }
}

/// One group of outputs, and the rest of the last one if it is not full: what the others do, these do.
fn outputs(rows: usize) -> usize {
    rows.min(LANES) + if rows > LANES { rows % LANES } else { 0 }
}

/// Products with bias and residual, without and with the activations' residuals.
pub(super) fn plain(
    bench: &mut Bench<'_>,
    units: &Units,
    shape: MatrixShape,
    depth: Depth,
) -> Result<(), DeviceError> {
    let mut random = Random::new(shape.columns as u64);
    let outputs = outputs(shape.rows);
    let matrix = random.matrix(shape.kind, outputs, shape.columns);
    let (layout, packed) = Layout::pack(&matrix);
    for (unit, rows) in cases(bench, units, depth) {
        let x = Rows::new(&mut random, rows, shape.columns);
        let (bias, residual) = (random.floats(outputs), random.floats(rows * outputs));
        for fine in [false, true] {
            let out = bench.reserve::<f32>(rows * outputs)?;
            let target = Target {
                weights: bench.upload(&packed)?,
                out,
                bias: bench.upload(&bias)?,
                residual: bench.upload(&residual)?,
                columns: int(outputs),
                fine: fine.into(),
            };
            let activations = x.upload(bench)?;
            let (module, kernel) = launch(bench, unit, target, layout, activations, rows)?;
            let expected: Vec<f32> = x
                .product(&matrix, fine)
                .iter()
                .zip(bias.iter().cycle())
                .zip(&residual)
                .map(|((product, bias), residual)| residual + (product + bias))
                .collect();
            let found = difference(&bench.download(out, rows * outputs)?, &expected);
            let residuals = if fine { ", with residuals" } else { "" };
            let what = format!("{:?}, {rows} rows of {}{residuals}", shape.kind, shape.columns);
            bench.note(&module, kernel, what, found);
            bench.clear();
        }
    }
    Ok(())
}

fn launch(
    bench: &mut Bench<'_>,
    unit: Unit,
    target: Target,
    layout: Layout,
    x: Activations,
    rows: usize,
) -> Result<(String, &'static str), DeviceError> {
    let (none, blocks, count) = (Target::default(), int(layout.blocks), int(rows));
    match unit {
        Unit::Tensor(cores) => {
            let module = cores.module(layout.format);
            let shape = tensor(rows, &[layout], target.fine != 0);
            let arguments = arguments![target, none, none, blocks, x, count];
            bench.run(&module, "tensor", shape, arguments)?;
            Ok((module, "tensor"))
        }
        Unit::Few(_) | Unit::Dot(_) => {
            let (module, batch, most_warps) = match unit {
                Unit::Dot(dot) => {
                    let batch = Batch::of(rows, dot.has_all_batches());
                    (dot.module(layout.format), batch, dot.most_warps())
                }
                Unit::Few(cores) | Unit::Tensor(cores) => {
                    (cores.few(layout.format), Batch::few(rows), usize::MAX)
                }
            };
            let shape = batch.product(rows, layout.groups(), layout.segments(), most_warps);
            let (gated, nowhere) = (-1i32, Activations::default());
            let arguments = arguments![target, none, none, blocks, x, count, gated, nowhere, 0u64];
            bench.run(&module, batch.kernel(), shape, arguments)?;
            Ok((module, batch.kernel()))
        }
    }
}

/// Gate and up in one launch, activated and quantised, as decoding computes them.
pub(super) fn gated(
    bench: &mut Bench<'_>,
    units: &Units,
    shape: MatrixShape,
    activation: Activation,
) -> Result<(), DeviceError> {
    let Unit::Dot(dot) = units.product(1) else {
        return Ok(());
    };
    let (code, function): (i32, fn(f32) -> f32) = match activation {
        Activation::Silu => (0, silu),
        Activation::Gelu => (1, gelu),
    };
    let mut random = Random::new(4);
    let [gate, up] = [0, 1].map(|_| random.matrix(shape.kind, LANES, shape.columns));
    let x = Rows::new(&mut random, 1, shape.columns);
    let (layout, packed) = Layout::pack(&gate);
    let mut target = |packed: &[u8]| -> Result<Target, DeviceError> {
        Ok(Target {
            weights: bench.upload(packed)?,
            columns: int(LANES),
            ..Target::default()
        })
    };
    let (a, b) = (target(&packed)?, target(&Layout::pack(&up).1)?);
    let out = bench.reserve_groups(1)?;
    let activations = x.upload(bench)?;
    let faults = bench.upload(&[0u32])?;
    let module = dot.module(layout.format);
    let launched = Batch::One.product(1, 1, layout.segments(), dot.most_warps());
    let (none, blocks) = (Target::default(), int(layout.blocks));
    let arguments = arguments![a, b, none, blocks, activations, 1i32, code, out, faults];
    bench.run(&module, Batch::One.kernel(), launched, arguments)?;
    let (gates, ups) = (x.product(&gate, false), x.product(&up, false));
    let values: Vec<f32> = gates
        .iter()
        .zip(ups)
        .map(|(gate, up)| function(*gate) * up)
        .collect();
    let expected = [quantise(&values, true)];
    let found = bench.compare_groups(out, &expected)?;
    let what = format!("{:?}, gate and up of {}", shape.kind, shape.columns);
    bench.note(&module, Batch::One.kernel(), what, found);
    bench.clear();
    Ok(())
}
