//! The unit that a card's measured rates choose is the one whose kernel costs the card least, by what the kernels
//! count.

#![expect(clippy::cast_precision_loss, reason = "counts of small launches")]

use gpu_agent::backend::cuda::launch::{Argument, FEW_ROWS, Shape, TENSOR_ROWS};
use gpu_agent::backend::cuda::layout::Format;
use gpu_agent::backend::cuda::modules::{Dot, Tensor};
use gpu_agent::backend::cuda::rates::{self, Rates, Units};
use gpu_agent::weights::quants::TensorType;
use testbed_ptx::{CARDS, Card as Table, Counters};

use crate::card::assert_bits;
use crate::card::{Card, ptx};
use crate::product::{Case, Unit};

/// How much more than the best unit the chosen one may cost: where tiles and dots are that close, the loads of weights
/// decide, which the measured rates leave out. Elsewhere wrong units cost several times as much.
const CLOSE: f64 = 1.25;

/// Clocks of one multiprocessor for what was counted, memory left out: it is the same for every unit.
fn clocks(table: &Table, counters: &Counters) -> f64 {
    let busy = counters.blocks.min(u64::from(table.multiprocessors));
    table.estimate(counters).instructions * busy as f64
}

/// What the probe's kernels cost on a card, one warp's work of one round each.
fn measured(table: &Table) -> Rates {
    let run = |sm: u32, module: &str, kernel: &str, rounds: i32| {
        let card = Card::new(sm);
        let out = card.reserve::<i32>(32);
        let arguments = [Argument::from(rounds), Argument::from(out)];
        let module = card.module(&ptx(module));
        clocks(
            table,
            &card.run(&module, kernel, Shape::threads(1, 32), &arguments),
        )
    };
    let cost = |sm, module, kernel| run(sm, module, kernel, 2) - run(sm, module, kernel, 1);
    let rate = |kernel| 32.0 * 32.0 / cost(61, "probe.sm_61", kernel);
    let tensor = match table.capability {
        ..75 => 0.0,
        75 => 16.0 * 4_096.0 / cost(75, "probe-tensor.sm_75", "probe_tensor"),
        _ => 16.0 * 4_096.0 / cost(80, "probe-tensor.sm_80", "probe_tensor"),
    };
    Rates {
        dp4a: rate("probe_dp4a"),
        dp2a: rate("probe_dp2a"),
        mad: rate("probe_mad"),
        scale: rate("probe_scale"),
        tensor,
        memory: 1.0,
        link: 1.0,
    }
}

fn chosen(units: &Units, rows: usize) -> Unit {
    match units.product(rows) {
        rates::Unit::Dot(Dot::Dp4a) => Unit::Dp4a,
        rates::Unit::Dot(Dot::Dp2a) => Unit::Dp2a,
        rates::Unit::Dot(Dot::Mad) => Unit::Mad,
        rates::Unit::Few(Tensor::Turing) => Unit::Few(75),
        rates::Unit::Few(Tensor::Ampere) => Unit::Few(80),
        rates::Unit::Tensor(Tensor::Turing) => Unit::Tensor(75),
        rates::Unit::Tensor(Tensor::Ampere) => Unit::Tensor(80),
    }
}

#[test]
fn the_unit_that_measured_rates_choose_costs_least() {
    for kind in [TensorType::Q4_1, TensorType::Q8_0] {
        for rows in [1, 2, 4, 8, 16, 32, TENSOR_ROWS] {
            let count = |unit: Unit| {
                let card = unit.card();
                let module = card.module(&unit.ptx(Format::of(kind)));
                let case = Case {
                    kind,
                    rows,
                    columns: 256,
                    outputs: 128,
                    fine: false,
                    most_warps: 1,
                };
                let (got, expected) = case
                    .run(unit, &card, &module)
                    .unwrap_or_else(|fault| panic!("{fault}"));
                assert_bits(&got, &expected, &format!("{rows} rows of {kind:?} by {unit:?}"));
                let launched = card.launched().into_values().next().expect("one kernel");
                (unit, launched.counters)
            };
            let counted = Unit::ALL.map(count);
            for table in &CARDS {
                let capability = i32::try_from(table.capability).expect("small");
                let units = Units::new(measured(table), (capability / 10, capability % 10));
                let cores = match table.capability {
                    ..75 => None,
                    75 => Some(75),
                    _ => Some(80),
                };
                let costs: Vec<(Unit, f64)> = counted
                    .iter()
                    .filter(|(unit, _)| match unit {
                        Unit::Few(sm) => Some(*sm) == cores && (FEW_ROWS..TENSOR_ROWS).contains(&rows),
                        Unit::Tensor(sm) => Some(*sm) == cores && rows >= TENSOR_ROWS,
                        _ => true,
                    })
                    .map(|(unit, counters)| (*unit, clocks(table, counters)))
                    .collect();
                let of = |wanted: Unit| costs.iter().find(|(unit, _)| *unit == wanted).expect("it ran").1;
                let least = costs.iter().map(|(_, cost)| *cost).fold(f64::MAX, f64::min);
                let unit = chosen(&units, rows);
                assert!(
                    of(unit) <= CLOSE * least,
                    "{kind:?}, {rows} rows on a {}: {unit:?}, of {costs:?}",
                    table.name
                );
            }
        }
    }
}
