//! Where a block of one row lies within its segment's lines, written and read back.

use half::f16;

use super::{
    Line,
    form::{Form, LINE, QUAD, QUADS, ROWS, Scales},
};
use crate::{
    backend::arithmetic::GROUP,
    weights::quants::{Block, Factors},
};

/// Offset between signed and unsigned bytes of 16-bit steps.
const BYTE_ZERO: i16 = 128;

/// Puts a block at place `block` of a segment's lines, which were zero before, for row `row` of 16.
pub(super) fn write(form: Form, lines: &mut [Line], block: usize, row: usize, from: &Block) {
    write_scales(form, lines, block, row, from);
    let lines = &mut lines[form.header() + block * form.lines()..][..form.lines()];
    for (column, step) in from.steps.iter().enumerate() {
        let (quad, at) = (column / QUAD, row * QUAD + column % QUAD);
        if form.bits == 16 {
            let (high, low) = split(*step);
            lines[quad].0[at] = high;
            lines[QUADS + quad].0[at] = low;
            continue;
        }
        let zero = form.zero.map_or(0, |bits| 1 << bits);
        let quant = (step + zero).to_le_bytes()[0];
        if form.bits == 8 {
            lines[quad].0[at] = quant;
            continue;
        }
        lines[quad % 4].0[at] |= (quant & 15) << (quad / 4 * 4);
        match form.bits {
            5 => lines[4].0[at] |= (quant >> 4) << quad,
            6 => lines[4 + quad / 4].0[at] |= (quant >> 4) << (quad % 4 * 2),
            _ => {}
        }
    }
}

/// The block that [`write`] put there.
pub(super) fn read(form: Form, lines: &[Line], block: usize, row: usize) -> Block {
    let quants = &lines[form.header() + block * form.lines()..][..form.lines()];
    let step = |column: usize| -> i16 {
        let (quad, at) = (column / QUAD, row * QUAD + column % QUAD);
        let byte = |line: usize| i16::from(quants[line].0[at]);
        let nibble = || byte(quad % 4) >> (quad / 4 * 4) & 15;
        let quant = match form.bits {
            16 => return (byte(quad) - BYTE_ZERO) * 256 + byte(QUADS + quad) - BYTE_ZERO,
            8 => byte(quad),
            6 => nibble() | (byte(4 + quad / 4) >> (quad % 4 * 2) & 3) << 4,
            5 => nibble() | (byte(4) >> quad & 1) << 4,
            _ => nibble(),
        };
        quant - form.zero.map_or(0, |bits| 1 << bits)
    };
    let mut steps = [0; GROUP];
    for (column, to) in steps.iter_mut().enumerate() {
        *to = step(column);
    }
    let (factors, scale, minimum, halves) = read_scales(form, lines, block, row);
    Block {
        steps,
        halves,
        scale,
        minimum,
        factors,
    }
}

/// A step as `256 · high + low`, both bytes offset to be unsigned.
fn split(step: i16) -> (u8, u8) {
    let low = i16::from(step.to_le_bytes()[0].cast_signed());
    let high = (step - low) / 256;
    let unsigned = |byte: i16| (byte + BYTE_ZERO).to_le_bytes()[0];
    (unsigned(high), unsigned(low))
}

fn write_scales(form: Form, lines: &mut [Line], block: usize, row: usize, from: &Block) {
    let Block {
        factors,
        scale,
        halves,
        ..
    } = from;
    match form.scales {
        Scales::Half => {
            put(lines, form.scale_at(block) + row * 2, factors.scale.to_le_bytes());
            if form.zero.is_none() {
                put(
                    lines,
                    form.minimum_at(block) + row * 2,
                    factors.minimum.to_le_bytes(),
                );
            }
        }
        Scales::Steps => {
            put(lines, row * 2, factors.scale.to_le_bytes());
            put(lines, (ROWS + row) * 2, factors.minimum.to_le_bytes());
            put(lines, form.scale_at(block) + row, [factors.scale_steps]);
            put(lines, form.minimum_at(block) + row, [factors.minimum_steps]);
        }
        Scales::Halves => {
            put(lines, row * 2, factors.scale.to_le_bytes());
            for (half, scale) in halves.iter().enumerate() {
                put(
                    lines,
                    form.halves_at(block) + half * ROWS + row,
                    scale.to_le_bytes(),
                );
            }
        }
        Scales::Single | Scales::SingleHalves => {
            put(lines, form.scale_at(block) + row * 4, scale.to_le_bytes());
        }
    }
}

fn read_scales(form: Form, lines: &[Line], block: usize, row: usize) -> (Factors, f32, Option<f32>, [i8; 2]) {
    let half = |at: usize| f16::from_le_bytes(get(lines, at));
    let byte = |at: usize| get::<1>(lines, at)[0];
    let mut factors = Factors {
        scale_steps: 1,
        ..Factors::default()
    };
    match form.scales {
        Scales::Half => {
            factors.scale = half(form.scale_at(block) + row * 2);
            let scale = factors.scale.to_f32();
            if form.zero.is_some() {
                return (factors, scale, None, [1, 1]);
            }
            factors.minimum = half(form.minimum_at(block) + row * 2);
            factors.minimum_steps = 1;
            (factors, scale, Some(factors.minimum.to_f32()), [1, 1])
        }
        Scales::Steps => {
            factors.scale = half(row * 2);
            factors.minimum = half((ROWS + row) * 2);
            factors.scale_steps = byte(form.scale_at(block) + row);
            factors.minimum_steps = byte(form.minimum_at(block) + row);
            let scale = factors.scale.to_f32() * f32::from(factors.scale_steps);
            let minimum = -(factors.minimum.to_f32() * f32::from(factors.minimum_steps));
            (factors, scale, Some(minimum), [1, 1])
        }
        Scales::Halves => {
            factors.scale = half(row * 2);
            let halves = [0, 1].map(|half| byte(form.halves_at(block) + half * ROWS + row).cast_signed());
            (factors, factors.scale.to_f32(), None, halves)
        }
        Scales::Single | Scales::SingleHalves => {
            let scale = f32::from_le_bytes(get(lines, form.scale_at(block) + row * 4));
            (Factors::default(), scale, None, [1, 1])
        }
    }
}

/// Bytes never cross a line: each is at a multiple of its length.
fn put<const N: usize>(lines: &mut [Line], at: usize, bytes: [u8; N]) {
    lines[at / LINE].0[at % LINE..][..N].copy_from_slice(&bytes);
}

fn get<const N: usize>(lines: &[Line], at: usize) -> [u8; N] {
    std::array::from_fn(|index| lines[at / LINE].0[at % LINE + index])
}
