//! The tables of `kernels/README.md`, made of what was counted.

use std::fmt::Write;
use std::path::Path;

use gpu_agent::weights::quants::TensorType;

use super::between::Between;
use super::streamed::Streamed;
use super::{ROOFLINES, slots};
use crate::product::Unit;

/// The products of the first table: `dp4a`, small tiles, and large tiles.
const COLUMNS: [(Unit, usize); 5] = [
    (Unit::Dp4a, 1),
    (Unit::Dp4a, 4),
    (Unit::Few(80), 8),
    (Unit::Few(80), 16),
    (Unit::Tensor(80), 64),
];
/// Weights of the second table.
const TYPES: [TensorType; 4] = [
    TensorType::Q4_0,
    TensorType::Q4_K,
    TensorType::Q6_K,
    TensorType::Q8_0,
];

/// Compares with the README.
///
/// # Panics
/// A table is not there as it was counted; the panic says what should stand there.
pub fn compare(streamed: &[Streamed], between: &[Between]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/README.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tables = [
        issue(),
        instructions(streamed),
        bandwidth(streamed),
        others(between),
    ];
    let missing: Vec<&String> = tables.iter().filter(|table| !text.contains(*table)).collect();
    assert!(
        missing.is_empty(),
        "{} does not say what was counted; it should have\n\n{}",
        path.display(),
        missing.into_iter().cloned().collect::<Vec<_>>().join("\n")
    );
}

fn cards() -> String {
    format!("{} |\n", ROOFLINES.map(|name| format!(" | {name}")).concat())
}

fn issue() -> String {
    let mut table = format!("| |{}", &cards()[2..]);
    table.push_str("|---|---|---|---|\n| instructions of a warp a byte |");
    for slots in slots() {
        let _ = write!(table, " {slots:.2} |");
    }
    table.push('\n');
    table
}

fn instructions(streamed: &[Streamed]) -> String {
    let mut table =
        "| weights | 1 row | 4 rows | 8 rows | 16 rows | 64 rows |\n|---|---|---|---|---|---|\n".to_owned();
    for kind in TensorType::ALL {
        let _ = write!(table, "| {kind:?} |");
        for (unit, rows) in COLUMNS {
            let of = find(streamed, kind, unit, rows);
            let _ = write!(table, " {:.2} |", of.instructions());
        }
        table.push('\n');
    }
    table
}

fn bandwidth(streamed: &[Streamed]) -> String {
    let mut table = format!("| weights | rows{}|---|---|---|---|---|\n", cards());
    for kind in TYPES {
        for (unit, rows) in COLUMNS {
            let _ = write!(table, "| {kind:?} | {rows}");
            let of = find(streamed, kind, unit, rows);
            table.push_str(&shares(of.reach()));
        }
    }
    table
}

fn others(between: &[Between]) -> String {
    let mut table = format!("| kernel | instructions a byte{}|---|---|---|---|---|\n", cards());
    for of in between {
        let _ = write!(table, "| {} | {:.2}", of.name, of.instructions());
        table.push_str(&shares(of.reach()));
    }
    table
}

fn shares(of: [f64; ROOFLINES.len()]) -> String {
    format!(
        "{} |\n",
        of.map(|share| format!(" | {:.0} %", share * 100.0)).concat()
    )
}

fn find(streamed: &[Streamed], kind: TensorType, unit: Unit, rows: usize) -> &Streamed {
    streamed
        .iter()
        .find(|of| of.kind == kind && of.unit == unit && of.rows == rows)
        .expect("counted")
}
