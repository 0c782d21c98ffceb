//! PTX snippets with known results, from the text of the PTX ISA: one group for each instruction and mode.
//!
//! A file in `snippets/<family>/` has groups such as
//!
//! ```text
//! = add.sat.s32 d, a, b :: b32 <- b32 b32
//! 7fffffff 1 -> 7fffffff
//! ```
//!
//! The first line has the instructions, then the widths of results and operands. Registers are d to h for results and
//! a, b, c, x, y for operands; `pred` is a predicate. Each further line is one thread: operands, then results, in
//! hexadecimal.

#![expect(clippy::cast_possible_truncation, reason = "a group has few rows")]

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use support::Argument::Pointer;
use support::Card;

const RESULTS: [&str; 5] = ["d", "e", "f", "g", "h"];
const OPERANDS: [&str; 5] = ["a", "b", "c", "x", "y"];

struct Group {
    place: String,
    code: String,
    results: Vec<String>,
    operands: Vec<String>,
    rows: Vec<(String, Vec<u64>, Vec<u64>)>,
}

fn numbers(text: &str, place: &str) -> Vec<u64> {
    let parse = |word| {
        u64::from_str_radix(word, 16).unwrap_or_else(|_| panic!("{place}: `{word}` is not hexadecimal"))
    };
    text.split_whitespace().map(parse).collect()
}

fn groups(path: &Path) -> Vec<Group> {
    let text = std::fs::read_to_string(path).expect("a readable file");
    let mut found: Vec<Group> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let place = format!("{}:{number}", path.display());
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some(head) = line.strip_prefix("= ") {
            let (code, widths) = head
                .split_once("::")
                .unwrap_or_else(|| panic!("{place}: `::` is missing"));
            let (results, operands) = widths
                .split_once("<-")
                .unwrap_or_else(|| panic!("{place}: `<-` is missing"));
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
            let (code, results, operands) = (code.trim().to_owned(), words(results), words(operands));
            found.push(Group {
                place,
                code,
                results,
                operands,
                rows: Vec::new(),
            });
        } else if !line.is_empty() {
            let (given, expected) = line
                .split_once("->")
                .unwrap_or_else(|| panic!("{place}: `->` is missing"));
            let row = (place.clone(), numbers(given, &place), numbers(expected, &place));
            found
                .last_mut()
                .unwrap_or_else(|| panic!("{place}: a row before a group"))
                .rows
                .push(row);
        }
    }
    found
}

fn size(width: &str) -> usize {
    match width {
        "pred" => 4,
        other => other[1..].parse::<usize>().expect("a width") / 8,
    }
}

/// A kernel that loads each thread's operands, executes the code and stores the results, eight bytes each.
fn kernel(group: &Group) -> String {
    let mut text = ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out) {\n".to_owned();
    text.push_str(".shared .align 16 .b8 tile[1024];\n.reg .b64 %in, %out, %t; .reg .b32 %tid, %w;\n");
    let named = group
        .results
        .iter()
        .zip(RESULTS)
        .chain(group.operands.iter().zip(OPERANDS));
    for (width, name) in named {
        let kind = if width == "pred" {
            "pred".to_owned()
        } else {
            format!("b{}", size(width).max(2) * 8)
        };
        writeln!(text, ".reg .{kind} {name};").expect("a string");
    }
    text.push_str("ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; mov.u32 %tid, %tid.x;\n");
    writeln!(
        text,
        "mad.wide.u32 %in, %tid, {}, %in;",
        group.operands.len().max(1) * 8
    )
    .expect("a string");
    writeln!(
        text,
        "mad.wide.u32 %out, %tid, {}, %out;",
        group.results.len() * 8
    )
    .expect("a string");
    for (i, (width, name)) in group.operands.iter().zip(OPERANDS).enumerate() {
        match width.as_str() {
            "pred" => writeln!(
                text,
                "ld.global.b32 %w, [%in+{}]; setp.ne.u32 {name}, %w, 0;",
                8 * i
            ),
            _ => writeln!(text, "ld.global.b{} {name}, [%in+{}];", size(width) * 8, 8 * i),
        }
        .expect("a string");
    }
    writeln!(text, "{};", group.code).expect("a string");
    for (i, (width, name)) in group.results.iter().zip(RESULTS).enumerate() {
        match width.as_str() {
            "pred" => writeln!(
                text,
                "selp.b32 %w, 1, 0, {name}; st.global.b32 [%out+{}], %w;",
                8 * i
            ),
            _ => writeln!(text, "st.global.b{} [%out+{}], {name};", size(width) * 8, 8 * i),
        }
        .expect("a string");
    }
    text + "ret;\n}\n"
}

fn check(group: &Group) -> Vec<String> {
    let card = Card::new(&kernel(group));
    let (wide_in, wide_out) = (group.operands.len().max(1), group.results.len());
    let mut input = vec![0_u64; group.rows.len() * wide_in];
    for (thread, (place, given, expected)) in group.rows.iter().enumerate() {
        assert_eq!(
            (given.len(), expected.len()),
            (group.operands.len(), wide_out),
            "{place}: numbers in the row"
        );
        input[thread * wide_in..thread * wide_in + given.len()].copy_from_slice(given);
    }
    let (from, to) = (
        card.put(&input),
        card.put(&vec![0_u64; group.rows.len() * wide_out]),
    );
    card.run(
        "k",
        [1, 1, 1],
        [group.rows.len() as u32, 1, 1],
        0,
        &[Pointer(from), Pointer(to)],
    );
    let results: Vec<u64> = card.get(to, group.rows.len() * wide_out);
    let wrong = group
        .rows
        .iter()
        .zip(results.chunks(wide_out))
        .filter(|((_, _, expected), actual)| expected != actual);
    wrong
        .map(|((place, given, expected), actual)| {
            format!(
                "{place}: {} of {given:x?} is {actual:x?} and not {expected:x?}",
                group.code
            )
        })
        .collect()
}

fn family(name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snippets")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut wrong = Vec::new();
    let mut rows = 0;
    for group in files.iter().flat_map(|file| groups(file)) {
        rows += group.rows.len();
        assert!(!group.rows.is_empty(), "{}: a group without rows", group.place);
        wrong.extend(check(&group));
    }
    assert!(rows > 10, "{name} has {rows} rows");
    assert!(
        wrong.is_empty(),
        "{} of {rows} rows are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

macro_rules! families {
    ($($name:ident $folder:literal;)*) => { $(
        #[test]
        fn $name() {
            family($folder);
        }
    )* };
}
families! {
    integer_arithmetic "integer";
    logic_shifts_and_fields "bits";
    single_and_double_precision "float";
    half_precision "half";
    conversions "convert";
    comparisons_and_selections "compare";
    moves_and_packing "move";
    shared_memory_and_atomics "memory";
    warp_operations "warp";
}
