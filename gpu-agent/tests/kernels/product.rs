//! Products with every weight type, by every instruction that computes them.

use gpu_agent::backend::arithmetic::{self, Quantised, product};
use gpu_agent::backend::cuda::launch::{Activations, Batch, Target, tensor};
use gpu_agent::backend::cuda::layout::{Format, Layout};
use gpu_agent::backend::cuda::modules::Dot;
use gpu_agent::weights::file::RawMatrix;
use gpu_agent::weights::quants::{Block, TensorType, each_block};
use testbed_ptx::{Fault, Module};

use crate::card::{Card, assert_bits, ptx};
use crate::random::Random;
use crate::{arguments, card};

/// Rows of activations, quantised on the host with and without care: `[rows][columns / 32]`.
pub struct Rows {
    plain: Vec<Vec<Quantised>>,
    fine: Vec<Vec<Quantised>>,
}

impl Rows {
    /// Quantises rows of floats.
    pub fn new(values: &[Vec<f32>]) -> Self {
        let quantise = |fine| {
            let row = |row: &Vec<f32>| {
                row.chunks(32)
                    .map(|group| arithmetic::quantise(group, fine))
                    .collect()
            };
            values.iter().map(row).collect()
        };
        Self {
            plain: quantise(false),
            fine: quantise(true),
        }
    }

    fn groups(&self, fine: bool) -> &[Vec<Quantised>] {
        if fine { &self.fine } else { &self.plain }
    }

    /// Copies them to a card.
    pub fn upload(&self, card: &Card, fine: bool) -> Activations {
        let all = |fine| self.groups(fine).iter().flatten();
        let bytes = |of: fn(&Quantised) -> &[i8; 32]| all(true).flat_map(of).copied().collect::<Vec<i8>>();
        let floats = |fine, of: fn(&Quantised) -> f32| card.upload(&all(fine).map(of).collect::<Vec<f32>>());
        Activations {
            quants: card.upload(&bytes(|group| &group.quants)),
            residuals: if fine {
                card.upload(&bytes(|group| &group.residuals))
            } else {
                0
            },
            scales: floats(false, |group| group.scale),
            totals: floats(false, |group| group.total),
            fine_totals: if fine {
                floats(true, |group| group.total)
            } else {
                0
            },
        }
    }

    /// The product with every row of a matrix, `[rows, rows of the matrix]`.
    pub fn product(&self, matrix: &RawMatrix, fine: bool) -> Vec<f32> {
        let blocks: Vec<Vec<Block>> = (0..matrix.rows)
            .map(|row| {
                let mut blocks = Vec::new();
                each_block(matrix.kind, matrix.row(row), |_, block| {
                    blocks.push(block.clone());
                });
                blocks
            })
            .collect();
        let one = |x: &Vec<Quantised>| blocks.iter().map(|row| product(row, x, fine)).collect::<Vec<_>>();
        self.groups(fine).iter().flat_map(one).collect()
    }
}

/// What computes the integer dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Dp4a,
    Dp2a,
    Mad,
    Few(u32),
    Tensor(u32),
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Dp4a,
        Self::Dp2a,
        Self::Mad,
        Self::Few(75),
        Self::Few(80),
        Self::Tensor(75),
        Self::Tensor(80),
    ];

    /// A card that has it.
    pub fn card(self) -> Card {
        match self {
            Self::Few(sm) | Self::Tensor(sm) => Card::new(sm),
            _ => Card::new(61),
        }
    }

    /// The module that uses it.
    pub fn module(self, format: Format) -> String {
        let format = format.name();
        match self {
            Self::Dp4a => format!("product-{format}-dp4a.sm_61"),
            Self::Dp2a => format!("product-{format}-dp2a.sm_61"),
            Self::Mad => format!("product-{format}-mad.sm_61"),
            Self::Few(sm) => format!("few-{format}.sm_{sm}"),
            Self::Tensor(sm) => format!("tensor-{format}.sm_{sm}"),
        }
    }

    /// The text of that module.
    pub fn ptx(self, format: Format) -> String {
        ptx(&self.module(format))
    }
}

impl Unit {
    /// The batch that computes so many rows, and the most warps of its blocks; not for large tiles.
    pub fn batch(self, rows: usize) -> (Batch, usize) {
        let dot = match self {
            Self::Dp2a => Dot::Dp2a,
            Self::Mad => Dot::Mad,
            Self::Dp4a => Dot::Dp4a,
            Self::Few(_) | Self::Tensor(_) => return (Batch::few(rows), usize::MAX),
        };
        (Batch::of(rows, dot.has_all_batches()), dot.most_warps())
    }
}

/// One product, and where its result lies.
pub struct Case {
    pub kind: TensorType,
    pub rows: usize,
    pub columns: usize,
    pub outputs: usize,
    pub fine: bool,
    pub most_warps: usize,
}

impl Case {
    /// Runs it on a card, with a bias and a residual, and returns what the card and the twin say. Loads of weights are
    /// watched.
    pub fn run(&self, unit: Unit, card: &Card, module: &Module) -> Result<(Vec<f32>, Vec<f32>), Box<Fault>> {
        let mut random = Random::new(0x0C0C_0011 ^ self.columns as u64);
        let matrix = random.matrix(self.kind, self.outputs, self.columns);
        let values: Vec<Vec<f32>> = (0..self.rows).map(|_| random.floats(self.columns)).collect();
        let bias = random.floats(self.outputs);
        let residual = random.floats(self.rows * self.outputs);
        let rows = Rows::new(&values);

        let (layout, packed) = Layout::pack(&matrix);
        let x = rows.upload(card, self.fine);
        let target = Target {
            weights: card.upload(&packed),
            out: card.reserve::<f32>(self.rows * self.outputs),
            bias: card.upload(&bias),
            residual: card.upload(&residual),
            columns: i32::try_from(self.outputs).expect("small"),
            fine: self.fine.into(),
        };
        card.watch(target.weights, packed.len());
        let (none, blocks, count) = (Target::default(), int(layout.blocks), int(self.rows));
        let ran = if let Unit::Tensor(_) = unit {
            let shape = tensor(self.rows, &[layout], self.fine);
            card.try_run(
                module,
                "tensor",
                shape,
                arguments![target, none, none, blocks, x, count],
            )
        } else {
            let (batch, most_warps) = unit.batch(self.rows);
            let most_warps = most_warps.min(self.most_warps);
            let shape = batch.product(self.rows, layout.groups(), layout.segments(), most_warps);
            let nowhere = Activations::default();
            card.try_run(
                module,
                batch.kernel(),
                shape,
                arguments![target, none, none, blocks, x, count, -1i32, nowhere, 0u64],
            )
        };
        ran?;
        let got = card.download::<f32>(target.out, self.rows * self.outputs);
        let expected = rows
            .product(&matrix, self.fine)
            .iter()
            .zip(bias.iter().cycle())
            .zip(&residual)
            .map(|((product, bias), residual)| residual + (product + bias))
            .collect();
        Ok((got, expected))
    }
}

pub fn int(value: usize) -> i32 {
    i32::try_from(value).expect("small")
}

fn columns_of(kind: TensorType) -> Vec<usize> {
    match kind.block_elements() {
        // One segment, and a second turn of eight warps.
        256 => vec![256, 9 * 256],
        // Less than a block, one block, and a segment with a rest.
        1 => vec![20, 32, 256 + 96],
        _ => vec![32, 256 + 96, 9 * 256 + 32],
    }
}

fn every_type(unit: Unit) {
    for kind in TensorType::ALL {
        let card = unit.card();
        let module = card.module(&unit.ptx(Format::of(kind)));
        for (index, columns) in columns_of(kind).into_iter().enumerate() {
            for fine in [false, true] {
                // Large tiles have 64 rows: the last of these has two of them.
                let tiles = matches!(unit, Unit::Tensor(_)).then_some(70);
                let more = [32].into_iter().filter(|_| index == 0).chain(tiles);
                for rows in [1, 2, 3, 8, 9, 17].into_iter().chain(more) {
                    let case = Case {
                        kind,
                        rows,
                        columns,
                        // More than one group, the last one not full.
                        outputs: [40, 32, 1][(index + rows) % 3],
                        fine,
                        most_warps: [8, 1, 3][(index + rows) % 3],
                    };
                    let (got, expected) = case
                        .run(unit, &card, &module)
                        .unwrap_or_else(|fault| panic!("{kind:?} by {unit:?}: {fault}"));
                    let what = format!("{kind:?} by {unit:?}, {rows} rows of {columns}, fine: {fine}");
                    assert_bits(&got, &expected, &what);
                }
            }
        }
    }
}

#[test]
fn products_by_dp4a_have_the_bits_of_their_twin() {
    every_type(Unit::Dp4a);
}

#[test]
fn products_by_dp2a_have_the_bits_of_their_twin() {
    every_type(Unit::Dp2a);
}

#[test]
fn products_by_multiply_and_add_have_the_bits_of_their_twin() {
    every_type(Unit::Mad);
}

#[test]
fn products_of_a_few_rows_on_the_tensor_cores_of_turing_have_the_bits_of_their_twin() {
    every_type(Unit::Few(75));
}

#[test]
fn products_of_a_few_rows_on_the_tensor_cores_of_ampere_have_the_bits_of_their_twin() {
    every_type(Unit::Few(80));
}

#[test]
fn products_on_the_tensor_cores_of_turing_have_the_bits_of_their_twin() {
    every_type(Unit::Tensor(75));
}

#[test]
fn products_on_the_tensor_cores_of_ampere_have_the_bits_of_their_twin() {
    every_type(Unit::Tensor(80));
}

#[test]
fn a_batch_of_32_has_the_same_bits_by_every_unit() {
    for kind in [TensorType::Q4_K, TensorType::Q6_K, TensorType::F16] {
        for unit in Unit::ALL {
            let card = unit.card();
            let module = card.module(&unit.ptx(Format::of(kind)));
            let case = Case {
                kind,
                rows: 32,
                columns: 512,
                outputs: 96,
                fine: false,
                most_warps: 8,
            };
            let (got, expected) = case
                .run(unit, &card, &module)
                .unwrap_or_else(|fault| panic!("{fault}"));
            assert_bits(&got, &expected, &format!("{kind:?} by {unit:?}"));
        }
    }
}

#[test]
fn three_matrices_of_different_heights_are_computed_in_one_launch() {
    let mut random = Random::new(3);
    let heights = [70, 32, 33];
    let matrices = heights.map(|height| random.matrix(TensorType::Q5_1, height, 64));
    let values: Vec<Vec<f32>> = (0..2).map(|_| random.floats(64)).collect();
    let rows = Rows::new(&values);
    for unit in [Unit::Dp4a, Unit::Few(80), Unit::Tensor(80)] {
        let card = unit.card();
        let module = card.module(&unit.ptx(Format::Q5_1));
        let x = rows.upload(&card, true);
        let layouts = [0, 1, 2].map(|index| Layout::pack(&matrices[index]));
        let targets = [0, 1, 2].map(|index| Target {
            weights: card.upload(&layouts[index].1),
            out: card.reserve::<f32>(2 * heights[index]),
            columns: int(heights[index]),
            fine: (index == 1).into(),
            ..Target::default()
        });
        let [a, b, c] = targets;
        if let Unit::Tensor(_) = unit {
            let shape = tensor(2, &[0, 1, 2].map(|index| layouts[index].0), true);
            card.run(&module, "tensor", shape, arguments![a, b, c, 2i32, x, 2i32]);
        } else {
            let groups = layouts.iter().map(|(layout, _)| layout.groups()).sum();
            let (batch, most_warps) = unit.batch(2);
            let shape = batch.product(2, groups, 1, most_warps);
            let nowhere = Activations::default();
            card.run(
                &module,
                batch.kernel(),
                shape,
                arguments![a, b, c, 2i32, x, 2i32, -1i32, nowhere, 0u64],
            );
        }
        for (index, target) in targets.iter().enumerate() {
            let expected = rows.product(&matrices[index], index == 1);
            let got = card.download::<f32>(target.out, 2 * heights[index]);
            assert_bits(&got, &expected, &format!("matrix {index} by {unit:?}"));
        }
    }
}

/// Reads quantised rows back.
pub fn download(card: &Card, x: Activations, groups: usize) -> Vec<Quantised> {
    let quants = card.download::<i8>(x.quants, groups * 32);
    let residuals = if x.residuals == 0 {
        vec![0; groups * 32]
    } else {
        card.download::<i8>(x.residuals, groups * 32)
    };
    let scales = card.download::<f32>(x.scales, groups);
    let totals = card.download::<f32>(if x.residuals == 0 { x.totals } else { x.fine_totals }, groups);
    (0..groups)
        .map(|group| Quantised {
            quants: quants[group * 32..][..32].try_into().expect("32"),
            residuals: residuals[group * 32..][..32].try_into().expect("32"),
            scale: scales[group],
            total: totals[group],
        })
        .collect()
}

/// Room for quantised rows on a card.
pub fn reserve(card: &Card, groups: usize, fine: bool) -> Activations {
    Activations {
        quants: card.reserve::<i8>(groups * 32),
        residuals: if fine { card.reserve::<i8>(groups * 32) } else { 0 },
        scales: card.reserve::<f32>(groups),
        totals: card.reserve::<f32>(groups),
        fine_totals: if fine { card.reserve::<f32>(groups) } else { 0 },
    }
}

/// Compares quantised groups bit by bit.
#[track_caller]
pub fn assert_groups(got: &[Quantised], expected: &[Quantised], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let equal = got.quants == expected.quants
            && got.residuals == expected.residuals
            && card::same(got.scale, expected.scale)
            && card::same(got.total, expected.total);
        assert!(equal, "{what}: group {index} is {got:?}, not {expected:?}");
    }
}

#[test]
fn gate_and_up_are_computed_gated_and_quantised_in_one_launch() {
    let mut random = Random::new(4);
    let (hidden, rows) = (96, 3);
    let [gate, up] = [0, 1].map(|_| random.matrix(TensorType::Q4_1, hidden, 288));
    let values: Vec<Vec<f32>> = (0..rows).map(|_| random.floats(288)).collect();
    for (activation, function) in [(0, arithmetic::silu as fn(f32) -> f32), (1, arithmetic::gelu)] {
        for (unit, fine) in [
            (Unit::Dp4a, false),
            (Unit::Dp4a, true),
            (Unit::Few(75), false),
            (Unit::Few(80), true),
        ] {
            let x = Rows::new(&values);
            let card = unit.card();
            let module = card.module(&unit.ptx(Format::Q4_1));
            let (layout, packed) = Layout::pack(&gate);
            let target = |packed: &[u8]| Target {
                weights: card.upload(packed),
                columns: int(hidden),
                ..Target::default()
            };
            let (a, b) = (target(&packed), target(&Layout::pack(&up).1));
            let out = reserve(&card, rows * hidden / 32, fine);
            let arguments = arguments![
                a,
                b,
                Target::default(),
                int(layout.blocks),
                x.upload(&card, false),
                int(rows),
                activation,
                out,
                card.upload(&vec![0u32; rows])
            ];
            let (batch, most_warps) = unit.batch(rows);
            let shape = batch.product(rows, layout.groups(), layout.segments(), most_warps);
            card.run(&module, batch.kernel(), shape, arguments);
            let expected: Vec<Quantised> = x
                .product(&gate, false)
                .iter()
                .zip(x.product(&up, false))
                .map(|(gate, up)| function(*gate) * up)
                .collect::<Vec<f32>>()
                .chunks(32)
                .map(|group| arithmetic::quantise(group, fine))
                .collect();
            let got = download(&card, out, rows * hidden / 32);
            assert_groups(
                &got,
                &expected,
                &format!("activation {activation} by {unit:?}, fine: {fine}"),
            );
        }
    }
}
