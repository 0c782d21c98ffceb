//! The product of a segment with a tile of activations, written once for every width of vector.
//!
//! A module that calls [`product_kernel`] brings its vectors: `LANES` rows, `Bytes` (a quad of columns of those rows),
//! `Ints` and `Floats` (one lane a row), and the operations on them that the macro names. Loops over tokens and quads
//! are written out, so that sums and weights have constant indices and stay in registers.

use super::Line;
use crate::backend::cpu::activations::TileGroup;

/// One walk over a segment, for the rows of a register and a few tokens of a tile.
pub(super) struct Pass<'a> {
    /// Header and blocks.
    pub(super) lines: *const Line,
    /// As many as the segment has blocks.
    pub(super) groups: &'a [TileGroup],
    /// The first token's place in the tile.
    pub(super) token: usize,
    /// Which register of rows.
    pub(super) half: usize,
    /// Whether sums become the segment's, instead of having it added.
    pub(super) first: bool,
    /// Whether what follows in memory is wanted soon.
    pub(super) ahead: bool,
}

/// Lines from one that is read to one that is asked for, 2 KiB: with 8 tokens a processor multiplies them for as long
/// as memory takes to answer.
pub(super) const AHEAD: usize = 32;

/// Runs a block with the constant `$index` from 0 up to `$limit`, at most 8.
macro_rules! unroll {
    ($limit:expr, $index:ident, $body:block) => {
        unroll!(@each $limit, $index, $body, 0 1 2 3 4 5 6 7);
    };
    (@each $limit:expr, $index:ident, $body:block, $($value:literal)*) => {$(
        if $value < $limit {
            const $index: usize = $value;
            $body
        }
    )*};
}

/// Adds the products of quads of weights with a token's activations.
macro_rules! dot {
    ($start:expr, $signed:ident, $quants:ident, $activations:ident, $($quad:literal)*) => {{
        let mut sum = $start;
        $(
            // SAFETY: four of 32 bytes; the read need not be aligned.
            let four = unsafe { $activations.add($quad * QUAD).cast::<i32>().read_unaligned() };
            sum = four_products(sum, $quants[$quad], four, $signed);
        )*
        sum
    }};
}

/// 8 quads of a block with one quant a byte.
macro_rules! unpack {
    ($form:ident, $lines:expr, $half:expr) => {{
        let lines: *const Line = $lines;
        // SAFETY: the caller's pointer is to the lines of one block.
        let line = |index: usize| unsafe { load(lines.add(index), $half) };
        if $form.bits >= 8 {
            [
                line(0),
                line(1),
                line(2),
                line(3),
                line(4),
                line(5),
                line(6),
                line(7),
            ]
        } else {
            let (a, b, c, d) = (line(0), line(1), line(2), line(3));
            let low = [
                low_nibbles(a),
                low_nibbles(b),
                low_nibbles(c),
                low_nibbles(d),
                high_nibbles(a),
                high_nibbles(b),
                high_nibbles(c),
                high_nibbles(d),
            ];
            if $form.bits == 5 {
                let high = line(4);
                [
                    merge::<16>(low[0], left::<4>(high)),
                    merge::<16>(low[1], left::<3>(high)),
                    merge::<16>(low[2], left::<2>(high)),
                    merge::<16>(low[3], left::<1>(high)),
                    merge::<16>(low[4], high),
                    merge::<16>(low[5], right::<1>(high)),
                    merge::<16>(low[6], right::<2>(high)),
                    merge::<16>(low[7], right::<3>(high)),
                ]
            } else if $form.bits == 6 {
                let (high, higher) = (line(4), line(5));
                [
                    merge::<48>(low[0], left::<4>(high)),
                    merge::<48>(low[1], left::<2>(high)),
                    merge::<48>(low[2], high),
                    merge::<48>(low[3], right::<2>(high)),
                    merge::<48>(low[4], left::<4>(higher)),
                    merge::<48>(low[5], left::<2>(higher)),
                    merge::<48>(low[6], higher),
                    merge::<48>(low[7], right::<2>(higher)),
                ]
            } else {
                low
            }
        }
    }};
}

/// Scale and minimum of a block; the minimum is a zero where the form has none.
macro_rules! factors {
    ($form:ident, $header:expr, $block:expr, $half:expr) => {{
        let header: *const u8 = $header;
        // SAFETY: the header holds all factors of a segment's blocks; nothing is read beyond it.
        unsafe {
            let at = |offset: usize| header.add(offset);
            match $form.scales {
                Scales::Half => {
                    let minimum = if $form.zero.is_none() {
                        halves_to_floats(at($form.minimum_at($block)), $half)
                    } else {
                        splat(0.0)
                    };
                    (halves_to_floats(at($form.scale_at($block)), $half), minimum)
                }
                Scales::Steps => {
                    let scale = halves_to_floats(at(0), $half);
                    let minimum = negate(halves_to_floats(at(ROWS * 2), $half));
                    (
                        multiply_floats(scale, bytes_to_floats(at($form.scale_at($block)), $half)),
                        multiply_floats(minimum, bytes_to_floats(at($form.minimum_at($block)), $half)),
                    )
                }
                Scales::Halves => (halves_to_floats(at(0), $half), splat(0.0)),
                Scales::Single | Scales::SingleHalves => {
                    let minimum = if $form.zero.is_none() {
                        load_floats(at($form.minimum_at($block)), $half)
                    } else {
                        splat(0.0)
                    };
                    (load_floats(at($form.scale_at($block)), $half), minimum)
                }
            }
        }
    }};
}

/// Exact integer product of a block with one token's quants, as floats.
macro_rules! integer {
    ($form:ident, $quants:ident, $low:ident, $scales:ident, $activations:expr, $starts:expr, $token:expr) => {{
        // A zero point of 128 is taken off each byte by vectors that multiply signed ones.
        let signed = SIGNED_BYTES && $form.zero.is_some() && $form.bits >= 8;
        let activations: *const i8 = $activations[$token].as_ptr();
        let start = |which: usize| match $form.zero {
            Some(bits) if !signed => zero_times($starts[which][$token], bits),
            _ => splat_ints(0),
        };
        match $form.scales {
            Scales::Halves | Scales::SingleHalves => {
                let first = dot!(start(0), signed, $quants, activations, 0 1 2 3);
                let second = dot!(start(1), signed, $quants, activations, 4 5 6 7);
                let first = multiply_ints(first, $scales[0]);
                to_floats(add_ints(first, multiply_ints(second, $scales[1])))
            }
            _ => {
                let mut sum = dot!(start(2), signed, $quants, activations, 0 1 2 3 4 5 6 7);
                if $form.bits == 16 {
                    let low = dot!(start(2), signed, $low, activations, 0 1 2 3 4 5 6 7);
                    sum = add_ints(times_256(sum), low);
                }
                to_floats(sum)
            }
        }
    }};
}

/// The functions of a module of vectors that multiply a segment.
macro_rules! product_kernel {
    ($features:literal, $tokens:expr) => {
        /// Adds the segment's sums to those of every tile.
        pub(super) fn multiply<'a>(
            weights: &Segment<'_>,
            inputs: impl Fn(usize) -> Inputs<'a>,
            room: &mut [Line; Form::LARGEST_BYTES],
            tiles: &mut [TileSums],
        ) {
            // Many tokens share the work of bringing quants to bytes.
            let (number, lines) = match Form::of(weights.number).bytes() {
                Some(bytes) if tiles.len() > 1 => {
                    // SAFETY: this instruction set is chosen only where `Isa::detect` found its features.
                    unsafe { to_bytes(weights, room) };
                    (bytes, &room[..])
                }
                _ => (weights.number, weights.lines),
            };
            let form = Form::of(number);
            assert!(lines.len() >= form.segment(weights.blocks), "a whole segment");
            for (tile, sums) in tiles.iter_mut().enumerate() {
                let Inputs { groups, tokens } = inputs(tile);
                assert!(groups.len() == weights.blocks && weights.blocks <= BLOCKS);
                // SAFETY: as above; the lines are those of the segment's blocks in this form.
                unsafe { by_form(number, weights, lines, groups, tokens, sums) };
            }
        }

        #[target_feature(enable = $features)]
        fn by_form(
            number: u8,
            weights: &Segment<'_>,
            lines: &[Line],
            groups: &[TileGroup],
            tokens: usize,
            sums: &mut TileSums,
        ) {
            by_number!(weights, number, (weights, lines, groups, tokens, sums), Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K
                Q5_K Q6_K FIXED ZERO_BYTES MINIMUM_BYTES HALVES_BYTES)
        }

        /// Brings quants to bytes, and their factors to floats.
        #[target_feature(enable = $features)]
        fn to_bytes(weights: &Segment<'_>, room: &mut [Line; Form::LARGEST_BYTES]) {
            match weights.number {
                number::Q4_0 => bytes_of::<{ number::Q4_0 }>(weights, room),
                number::Q4_1 => bytes_of::<{ number::Q4_1 }>(weights, room),
                number::Q5_0 => bytes_of::<{ number::Q5_0 }>(weights, room),
                number::Q5_1 => bytes_of::<{ number::Q5_1 }>(weights, room),
                number::Q4_K => bytes_of::<{ number::Q4_K }>(weights, room),
                number::Q5_K => bytes_of::<{ number::Q5_K }>(weights, room),
                _ => bytes_of::<{ number::Q6_K }>(weights, room),
            }
        }

        #[target_feature(enable = $features)]
        fn bytes_of<const FORM: u8>(weights: &Segment<'_>, room: &mut [Line; Form::LARGEST_BYTES]) {
            let form = const { Form::of(FORM) };
            let bytes = const { Form::of(FORM).bytes_form() };
            let from = weights.lines.as_ptr();
            prefetch(from, form.header());
            let to = room.as_mut_ptr();
            let offset = splat_bytes(const { Form::of(FORM).offset_to_bytes() });
            for block in 0..weights.blocks {
                for half in 0..ROWS / LANES {
                    let (scale, minimum) = factors!(form, from.cast(), block, half);
                    // SAFETY: the segment holds this block.
                    let lines = unsafe { from.add(form.header() + block * form.lines()) };
                    if half == 0 {
                        prefetch(lines, form.lines());
                    }
                    let quants = unpack!(form, lines, half);
                    // SAFETY: the room holds this block in its form of bytes.
                    unsafe {
                        let header: *mut u8 = to.cast();
                        store_floats(header.add(bytes.scale_at(block)), half, scale);
                        if form.zero.is_none() {
                            store_floats(header.add(bytes.minimum_at(block)), half, minimum);
                        }
                        let lines = to.add(bytes.header() + block * QUADS);
                        unroll!(QUADS, QUAD_INDEX, {
                            store(lines.add(QUAD_INDEX), half, add_bytes(quants[QUAD_INDEX], offset));
                        });
                    }
                }
                if form.has_halves() {
                    // SAFETY: as above; two bytes a row.
                    unsafe {
                        let from: *const u8 = from.cast();
                        let to: *mut u8 = to.cast();
                        from.add(form.halves_at(block))
                            .copy_to_nonoverlapping(to.add(bytes.halves_at(block)), 2 * ROWS);
                    }
                }
            }
        }

        /// Asks for lines as far ahead as [`AHEAD`] says; beyond the end of the weights nothing happens.
        #[inline]
        fn prefetch(lines: *const Line, count: usize) {
            for line in 0..count {
                // SAFETY: a prefetch of any address is harmless.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(lines.wrapping_add(AHEAD + line).cast()) };
            }
        }

        #[target_feature(enable = $features)]
        fn by_tokens<const FORM: u8, const FINE: bool>(
            weights: &Segment<'_>,
            lines: &[Line],
            groups: &[TileGroup],
            tokens: usize,
            sums: &mut TileSums,
        ) {
            for half in 0..ROWS / LANES {
                let mut first = 0;
                while first < tokens {
                    let pass = Pass {
                        lines: lines.as_ptr(),
                        groups,
                        token: first,
                        half,
                        first: weights.first,
                        // So few tokens are multiplied as fast as memory answers; then asking only costs.
                        ahead: tokens > 2 && first + half == 0 && lines.as_ptr() == weights.lines.as_ptr(),
                    };
                    // Beyond the last token lie leftovers, whose sums nobody reads.
                    match tokens - first {
                        1 => pass_of::<FORM, FINE, 1>(&pass, sums),
                        2 => pass_of::<FORM, FINE, 2>(&pass, sums),
                        3 | 4 => pass_of::<FORM, FINE, 4>(&pass, sums),
                        _ => pass_of::<FORM, FINE, { $tokens }>(&pass, sums),
                    }
                    first += $tokens;
                }
            }
        }

        #[target_feature(enable = $features)]
        fn pass_of<const FORM: u8, const FINE: bool, const TOKENS: usize>(
            pass: &Pass<'_>,
            sums: &mut TileSums,
        ) {
            let form = const { Form::of(FORM) };
            let (half, token) = (pass.half, pass.token);
            if pass.ahead {
                prefetch(pass.lines, form.header());
            }
            let mut accumulators = [splat(0.0); TILE];
            if FREE_ORDER && !pass.first {
                unroll!(TOKENS, T, {
                    // SAFETY: a token has 16 sums.
                    accumulators[T] = unsafe { load_floats(sums[token + T].as_ptr().cast(), half) };
                });
            }
            for (block, input) in pass.groups.iter().enumerate() {
                let (scale, minimum) = factors!(form, pass.lines.cast(), block, half);
                // SAFETY: the segment holds this block.
                let lines = unsafe { pass.lines.add(form.header() + block * form.lines()) };
                if pass.ahead {
                    prefetch(lines, form.lines());
                }
                let quants = unpack!(form, lines, half);
                let low = if form.bits == 16 {
                    // SAFETY: low bytes follow the high ones.
                    let lines = unsafe { lines.add(QUADS) };
                    unpack!(form, lines, half)
                } else {
                    quants
                };
                let scales = if form.has_halves() {
                    // SAFETY: the header holds two bytes a row of this block.
                    unsafe {
                        let at = pass.lines.cast::<i8>().add(form.halves_at(block));
                        [signed_to_ints(at, half), signed_to_ints(at.add(ROWS), half)]
                    }
                } else {
                    [splat_ints(1); 2]
                };
                unroll!(TOKENS, T, {
                    let mut product = integer!(form, quants, low, scales, input.quants, input.starts, token + T);
                    if FINE {
                        let rest = integer!(
                            form,
                            quants,
                            low,
                            scales,
                            input.residuals,
                            input.residual_starts,
                            token + T
                        );
                        product = multiply_add(product, rest, splat(RESIDUAL));
                    }
                    let scale = multiply_floats(scale, splat(input.scales[token + T]));
                    let mut sum = multiply_add(accumulators[T], scale, product);
                    if form.zero.is_none() {
                        let total = splat(input.totals[usize::from(FINE)][token + T]);
                        sum = multiply_add(sum, minimum, total);
                    }
                    accumulators[T] = sum;
                });
            }
            unroll!(TOKENS, T, {
                let out: *mut u8 = sums[token + T].as_mut_ptr().cast();
                // SAFETY: a token has 16 sums.
                unsafe {
                    let sum = if pass.first || FREE_ORDER {
                        accumulators[T]
                    } else {
                        add_floats(load_floats(out, half), accumulators[T])
                    };
                    store_floats(out, half, sum);
                }
            });
        }
    };
}

/// Calls `by_tokens` compiled for the form of a number.
macro_rules! by_number {
    ($weights:ident, $number:ident, $arguments:tt, $($form:ident)*) => {
        match ($number, $weights.fine) {
            $(
                (number::$form, false) => by_number!(@call $form, false, $arguments),
                (number::$form, true) => by_number!(@call $form, true, $arguments),
            )*
            _ => unreachable!("every number has a form"),
        }
    };
    (@call $form:ident, $fine:literal, ($($argument:expr),*)) => {
        by_tokens::<{ number::$form }, $fine>($($argument),*)
    };
}

pub(super) use {by_number, dot, factors, integer, product_kernel, unpack, unroll};
