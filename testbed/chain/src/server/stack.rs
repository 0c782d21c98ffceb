//! TVM stacks in toncenter v2's JSON.
//!
//! Arguments: `["num", 5 | "5" | "0x5" | "-0x5"]`, `["cell" | "slice" | "tvm.Cell" | "tvm.Slice" | "tvm.Builder",
//! base64
//! | {"bytes": base64}]`, `["tuple" | "list", {"elements": […]}]`, `["null"]`. Results: `["num", "0x5"]`, `["cell",
//! {"bytes", "object"}]` for cells and slices alike, and `["tuple" | "list", {"@type", "elements"}]` whose elements
//! are `tvm.stackEntry…` objects; null is the empty list.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use num_bigint::{BigInt, Sign};
use serde_json::{Value, json};
use tycho_types::prelude::*;

use super::envelope::ApiError;
use crate::chain::{STACK_NESTING, StackEntry};

/// Cells that the `object` form of one result spells out; `bytes` always has the whole.
///
/// A tree whose cells are shared can unfold exponentially; getters of wallets and channels return tens of cells.
const OBJECT_CELLS: usize = 1_024;

/// Arguments of a getter.
pub(super) fn parse(stack: &Value) -> Result<Vec<StackEntry>, ApiError> {
    let entries = stack
        .as_array()
        .ok_or_else(|| ApiError::validation("parameter stack must be a list"))?;
    let entry = |(index, entry)| {
        parse_pair(entry).ok_or_else(|| {
            ApiError::validation(format!(
                "entry {index} of parameter stack is not a stack entry: {entry}"
            ))
        })
    };
    entries.iter().enumerate().map(entry).collect()
}

fn parse_pair(entry: &Value) -> Option<StackEntry> {
    let pair = entry.as_array()?;
    let value = pair.get(1).unwrap_or(&Value::Null);
    Some(match pair.first()?.as_str()? {
        "num" | "number" | "int" => StackEntry::Int(parse_number(value)?),
        "cell" | "tvm.Cell" => StackEntry::Cell(parse_cell(value)?),
        "slice" | "tvm.Slice" => StackEntry::Slice(parse_cell(value)?),
        "builder" | "tvm.Builder" => StackEntry::Builder(parse_cell(value)?),
        "tuple" | "tvm.Tuple" => StackEntry::Tuple(parse_elements(value, 0)?),
        "list" | "tvm.List" => list(parse_elements(value, 0)?),
        "null" => StackEntry::Null,
        _ => return None,
    })
}

/// An element of a tuple, in tonlib's own JSON.
fn parse_element(entry: &Value, depth: usize) -> Option<StackEntry> {
    if depth > STACK_NESTING {
        return None;
    }
    Some(match entry.get("@type")?.as_str()? {
        "tvm.stackEntryNumber" => StackEntry::Int(parse_number(entry.get("number")?.get("number")?)?),
        "tvm.stackEntryCell" => StackEntry::Cell(parse_cell(entry.get("cell")?)?),
        "tvm.stackEntrySlice" => StackEntry::Slice(parse_cell(entry.get("slice")?)?),
        "tvm.stackEntryTuple" => StackEntry::Tuple(parse_elements(entry.get("tuple")?, depth)?),
        "tvm.stackEntryList" => list(parse_elements(entry.get("list")?, depth)?),
        _ => return None,
    })
}

fn parse_elements(value: &Value, depth: usize) -> Option<Vec<StackEntry>> {
    value
        .get("elements")?
        .as_array()?
        .iter()
        .map(|element| parse_element(element, depth + 1))
        .collect()
}

/// A list as TVM has it: nested pairs that end in null.
fn list(elements: Vec<StackEntry>) -> StackEntry {
    elements
        .into_iter()
        .rev()
        .fold(StackEntry::Null, |tail, head| StackEntry::Tuple(vec![head, tail]))
}

fn parse_number(value: &Value) -> Option<BigInt> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .map(BigInt::from)
            .or_else(|| number.as_u64().map(BigInt::from)),
        Value::String(text) => {
            let (negative, digits) = text
                .strip_prefix('-')
                .map_or((false, text.as_str()), |rest| (true, rest));
            // 257 bits take 65 hexadecimal or 78 decimal digits.
            if digits.len() > 80 || digits.starts_with(['+', '-']) {
                return None;
            }
            let magnitude = match digits.strip_prefix("0x") {
                Some(hex) => BigInt::parse_bytes(hex.as_bytes(), 16)?,
                None => BigInt::parse_bytes(digits.as_bytes(), 10)?,
            };
            Some(if negative { -magnitude } else { magnitude })
        }
        _ => None,
    }
}

fn parse_cell(value: &Value) -> Option<Cell> {
    let text = value.as_str().or_else(|| value.get("bytes")?.as_str())?;
    Boc::decode(BASE64_STANDARD.decode(text).ok()?).ok()
}

/// A getter's result.
pub(super) fn render(stack: &[StackEntry]) -> Value {
    stack.iter().map(render_pair).collect()
}

fn render_pair(entry: &StackEntry) -> Value {
    match entry {
        StackEntry::Null => json!(["list", {"@type": "tvm.list", "elements": []}]),
        StackEntry::Int(value) => json!(["num", hexadecimal(value)]),
        StackEntry::NaN => json!(["num", "NaN"]),
        StackEntry::Cell(cell) | StackEntry::Slice(cell) => json!(["cell", render_cell(cell)]),
        StackEntry::Builder(cell) => json!(["builder", render_cell(cell)]),
        StackEntry::Tuple(items) => match as_list(entry) {
            Some(elements) => json!(["list", {"@type": "tvm.list", "elements": render_elements(&elements)}]),
            None => {
                json!(["tuple", {"@type": "tvm.tuple", "elements": render_elements(&items.iter().collect::<Vec<_>>())}])
            }
        },
        StackEntry::Unsupported => json!(["unsupported", {"@type": "tvm.stackEntryUnsupported"}]),
    }
}

fn render_elements(elements: &[&StackEntry]) -> Value {
    elements.iter().map(|element| render_element(element)).collect()
}

fn render_element(entry: &StackEntry) -> Value {
    let list = |elements: Value| json!({"@type": "tvm.stackEntryList", "list": {"@type": "tvm.list", "elements": elements}});
    match entry {
        StackEntry::Null => list(json!([])),
        StackEntry::Int(value) => number(&value.to_string()),
        StackEntry::NaN => number("NaN"),
        StackEntry::Cell(cell) => {
            json!({"@type": "tvm.stackEntryCell", "cell": {"@type": "tvm.cell", "bytes": Boc::encode_base64(cell)}})
        }
        StackEntry::Slice(cell) => {
            json!({"@type": "tvm.stackEntrySlice", "slice": {"@type": "tvm.slice", "bytes": Boc::encode_base64(cell)}})
        }
        StackEntry::Tuple(items) => match as_list(entry) {
            Some(elements) => list(render_elements(&elements)),
            None => json!({"@type": "tvm.stackEntryTuple", "tuple": {
                "@type": "tvm.tuple",
                "elements": render_elements(&items.iter().collect::<Vec<_>>()),
            }}),
        },
        StackEntry::Builder(_) | StackEntry::Unsupported => json!({"@type": "tvm.stackEntryUnsupported"}),
    }
}

fn number(text: &str) -> Value {
    json!({"@type": "tvm.stackEntryNumber", "number": {"@type": "tvm.numberDecimal", "number": text}})
}

/// The elements, if the value is a list: nested pairs that end in null.
fn as_list(entry: &StackEntry) -> Option<Vec<&StackEntry>> {
    let mut elements = Vec::new();
    let mut rest = entry;
    while let StackEntry::Tuple(items) = rest {
        let [head, tail] = items.as_slice() else {
            return None;
        };
        elements.push(head);
        rest = tail;
    }
    (*rest == StackEntry::Null).then_some(elements)
}

fn hexadecimal(value: &BigInt) -> String {
    let sign = if value.sign() == Sign::Minus { "-" } else { "" };
    format!("{sign}0x{:x}", value.magnitude())
}

fn render_cell(cell: &Cell) -> Value {
    let mut left = OBJECT_CELLS;
    json!({"bytes": Boc::encode_base64(cell), "object": object(cell.as_ref(), &mut left)})
}

/// A cell spelt out; null for cells beyond [`OBJECT_CELLS`].
fn object(cell: &DynCell, left: &mut usize) -> Value {
    match left.checked_sub(1) {
        Some(fewer) => *left = fewer,
        None => return Value::Null,
    }
    let refs: Vec<_> = cell.references().map(|child| object(child, left)).collect();
    let data = BASE64_STANDARD.encode(cell.data());
    json!({"data": {"b64": data, "len": cell.bit_len()}, "refs": refs, "special": cell.is_exotic()})
}
