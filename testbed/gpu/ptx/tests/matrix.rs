//! Matrix products of a warp, their fragments laid out as the figures of PTX ISA 9.7.13 show them, against plain Rust.

#![expect(
    clippy::many_single_char_names,
    reason = "rows, columns and depth have their usual names"
)]

mod support;

use half::{bf16, f16};
use support::Argument::Pointer;
use support::{Card, Numbers};

/// A kernel that loads registers a, b and c of each lane, executes one product and stores d.
#[expect(clippy::format_push_string, reason = "the text of one test's kernel")]
fn product(name: &str, a: usize, b: usize, c: usize) -> Card {
    let list = |prefix: &str, count: usize| {
        (0..count)
            .map(|i| format!("{prefix}{i}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut text = format!(
        ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out) {{\n.reg .b32 %t, {}, {}, {}, {};\n.reg .b64 %in, %out;\n",
        list("a", a),
        list("b", b),
        list("c", c),
        list("d", c)
    );
    text += "ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; mov.u32 %t, %laneid;\n";
    text.push_str(&format!(
        "mad.wide.u32 %in, %t, {}, %in; mad.wide.u32 %out, %t, {}, %out;\n",
        4 * (a + b + c),
        4 * c
    ));
    let registers = list("a", a) + "," + &list("b", b) + "," + &list("c", c);
    for (i, register) in registers.split(',').enumerate() {
        text.push_str(&format!("ld.global.b32 {register}, [%in+{}];\n", 4 * i));
    }
    text.push_str(&format!(
        "{name} {{{}}}, {{{}}}, {{{}}}, {{{}}};\n",
        list("d", c),
        list("a", a),
        list("b", b),
        list("c", c)
    ));
    for i in 0..c {
        text.push_str(&format!("st.global.b32 [%out+{}], d{i};\n", 4 * i));
    }
    Card::new(&(text + "ret; }\n"))
}

fn run(card: &Card, input: &[u32], results: usize) -> Vec<u32> {
    let out = card.room(32 * 4 * results as u64);
    card.run(
        "k",
        [1, 1, 1],
        [32, 1, 1],
        0,
        &[Pointer(card.put(input)), Pointer(out)],
    );
    card.get(out, 32 * results)
}

/// Checks a product of halves m16n8k16: registers hold two elements, the lower column in the lower half.
fn halves(name: &str, to_bits: impl Fn(f32) -> u16, to_f32: impl Fn(u16) -> f32) {
    let (card, mut numbers) = (product(name, 4, 2, 4), Numbers(11));
    let a: Vec<u16> = numbers.floats(16 * 16).into_iter().map(&to_bits).collect();
    let b: Vec<u16> = numbers.floats(16 * 8).into_iter().map(&to_bits).collect();
    let c = numbers.floats(16 * 8);
    let pair = |low: u16, high: u16| u32::from(high) << 16 | u32::from(low);
    let mut input = Vec::new();
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for (row, column) in [(g, 2 * t), (g + 8, 2 * t), (g, 2 * t + 8), (g + 8, 2 * t + 8)] {
            input.push(pair(a[row * 16 + column], a[row * 16 + column + 1]));
        }
        for row in [2 * t, 2 * t + 8] {
            input.push(pair(b[row * 8 + g], b[(row + 1) * 8 + g]));
        }
        for (row, column) in [(g, 2 * t), (g, 2 * t + 1), (g + 8, 2 * t), (g + 8, 2 * t + 1)] {
            input.push(c[row * 8 + column].to_bits());
        }
    }
    let found = run(&card, &input, 4);
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for (i, (row, column)) in [(g, 2 * t), (g, 2 * t + 1), (g + 8, 2 * t), (g + 8, 2 * t + 1)]
            .into_iter()
            .enumerate()
        {
            let sum: f64 = (0..16)
                .map(|k| f64::from(to_f32(a[row * 16 + k])) * f64::from(to_f32(b[k * 8 + column])))
                .sum();
            let expected = sum + f64::from(c[row * 8 + column]);
            let actual = f64::from(f32::from_bits(found[lane * 4 + i]));
            assert!(
                (actual - expected).abs() < 1e-6,
                "{name}: element {row}, {column} is {actual} and not {expected}"
            );
        }
    }
}

#[test]
fn products_of_halves() {
    halves(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
        |v| f16::from_f32(v).to_bits(),
        |b| f16::from_bits(b).to_f32(),
    );
    halves(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        |v| bf16::from_f32(v).to_bits(),
        |b| bf16::from_bits(b).to_f32(),
    );
}

#[test]
fn products_of_tf32() {
    let (card, mut numbers) = (
        product("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 4, 2, 4),
        Numbers(12),
    );
    let cut = |value: f32| f32::from_bits(value.to_bits() & 0xffff_e000);
    let (a, b) = (numbers.floats(16 * 8), numbers.floats(8 * 8));
    let mut input = Vec::new();
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        input.extend(
            [(g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)]
                .map(|(row, column)| a[row * 8 + column].to_bits()),
        );
        input.extend([t, t + 4].map(|row| b[row * 8 + g].to_bits()));
        input.extend([0; 4]);
    }
    let found = run(&card, &input, 4);
    for lane in 0..32 {
        let (row, column) = (lane / 4 + 8, 2 * (lane % 4) + 1);
        let expected: f64 = (0..8)
            .map(|k| f64::from(cut(a[row * 8 + k])) * f64::from(cut(b[k * 8 + column])))
            .sum();
        let actual = f64::from(f32::from_bits(found[lane * 4 + 3]));
        assert!(
            (actual - expected).abs() < 1e-6,
            "element {row}, {column} is {actual} and not {expected}"
        );
    }
}

/// Checks a product of bytes with depth k of 16 or 32 over 8 or 16 rows; a is signed, b as the caller says.
fn bytes(name: &str, rows: usize, depth: usize, value: impl Fn(u8) -> i32) {
    let (halves, parts) = (rows / 8, depth / 16);
    let (card, mut numbers) = (product(name, halves * parts, parts, 2 * halves), Numbers(13));
    let a: Vec<u8> = numbers
        .bytes(rows * depth)
        .into_iter()
        .map(i8::cast_unsigned)
        .collect();
    let b: Vec<u8> = numbers
        .bytes(depth * 8)
        .into_iter()
        .map(i8::cast_unsigned)
        .collect();
    let four = |at: &dyn Fn(usize) -> u8| u32::from_le_bytes([at(0), at(1), at(2), at(3)]);
    let mut input = Vec::new();
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for part in 0..parts {
            for half in 0..halves {
                input.push(four(&|i| a[(g + 8 * half) * depth + 16 * part + 4 * t + i]));
            }
        }
        input.extend((0..parts).map(|part| four(&|i| b[(16 * part + 4 * t + i) * 8 + g])));
        input.extend((0..2 * halves).map(|_| 7));
    }
    let found = run(&card, &input, 2 * halves);
    for lane in 0..32 {
        for i in 0..2 * halves {
            let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let sum: i32 = (0..depth)
                .map(|k| i32::from(a[row * depth + k].cast_signed()) * value(b[k * 8 + column]))
                .sum();
            assert_eq!(
                found[lane * 2 * halves + i].cast_signed(),
                sum + 7,
                "{name}: element {row}, {column}"
            );
        }
    }
}

#[test]
fn products_of_bytes() {
    let signed = |byte: u8| i32::from(byte.cast_signed());
    bytes("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", 16, 32, signed);
    bytes("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32", 16, 16, signed);
    bytes("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32", 8, 16, signed);
    bytes(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32",
        16,
        32,
        i32::from,
    );
}

#[test]
fn matrices_are_loaded_stored_and_transposed() {
    let text = ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 out) {\n.shared .align 16 .b8 tile[256]; .reg .b32 %t, %r<9>; .reg .b64 %out, %d; .reg .pred %p;\n\
        ld.param.u64 %out, [out]; mov.u32 %t, %laneid; shl.b32 %r0, %t, 3; mov.u32 %r1, tile; add.u32 %r1, %r1, %r0;\n\
        shl.b32 %r2, %t, 2; shl.b32 %r3, %t, 18; or.b32 %r2, %r2, %r3; add.u32 %r2, %r2, 0x10000; add.u32 %r3, %r2, 0x20002;\n\
        setp.lt.u32 %p, %t, 16; @%p st.shared.v2.b32 [%r1], {%r2, %r3}; bar.warp.sync -1;\n\
        and.b32 %r4, %t, 7; shl.b32 %r4, %r4, 4; mov.u32 %r5, tile; add.u32 %r4, %r4, %r5;\n\
        ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r6}, [%r4]; ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r7}, [%r4];\n\
        movmatrix.sync.aligned.m8n8.trans.b16 %r8, %r6;\n\
        mad.wide.u32 %d, %t, 12, %out; st.global.b32 [%d], %r6; st.global.b32 [%d+4], %r7; st.global.b32 [%d+8], %r8; ret; }\n";
    let card = Card::new(text);
    let out = card.room(32 * 12);
    card.run("k", [1, 1, 1], [32, 1, 1], 0, &[Pointer(out)]);
    let found: Vec<u32> = card.get(out, 96);
    // Element i of the matrix is the number i: lane t wrote elements 4t to 4t+3.
    for (lane, row) in (0..).zip(found.chunks(3)) {
        let (r, c) = (lane / 4, lane % 4 * 2);
        assert_eq!(row[0], (8 * r + c + 1) << 16 | (8 * r + c), "lane {lane}");
        assert_eq!(
            row[1],
            (8 * (c + 1) + r) << 16 | (8 * c + r),
            "lane {lane}, transposed"
        );
        assert_eq!(row[2], row[1], "lane {lane}, moved");
    }
}
