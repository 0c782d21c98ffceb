//! The product with 512-bit registers and VNNI dot products.
//!
//! The loops over tokens and lines are written out by macros: sums and weights must stay in registers, which needs
//! constant indices.

#![expect(
    unsafe_code,
    reason = "vector loads and a call into code for a detected instruction set"
)]

use std::arch::x86_64::{
    __m512, __m512i, _mm256_loadu_si256, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_load_si512, _mm512_mul_ps, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi16,
    _mm512_storeu_ps,
};

use super::{Inputs, QUAD, RESIDUAL, ROWS, RowGroup, TILE, TileSums, Width};

/// `sums[token][row]` over all blocks of a row group.
pub(super) fn multiply(weights: &RowGroup<'_>, inputs: &Inputs<'_>) -> TileSums {
    // SAFETY: `Isa::Avx512Vnni` exists only where `Isa::detect` found these features.
    unsafe {
        match (weights.width, inputs.fine) {
            (Width::Four, false) => by_tokens::<4, false>(weights, inputs),
            (Width::Four, true) => by_tokens::<4, true>(weights, inputs),
            (Width::Eight, false) => by_tokens::<8, false>(weights, inputs),
            (Width::Eight, true) => by_tokens::<8, true>(weights, inputs),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn by_tokens<const LINES: usize, const FINE: bool>(weights: &RowGroup<'_>, inputs: &Inputs<'_>) -> TileSums {
    match inputs.tokens {
        1 => tile::<LINES, FINE, 1>(weights, inputs),
        2 => tile::<LINES, FINE, 2>(weights, inputs),
        3 => tile::<LINES, FINE, 3>(weights, inputs),
        4 => tile::<LINES, FINE, 4>(weights, inputs),
        5 => tile::<LINES, FINE, 5>(weights, inputs),
        6 => tile::<LINES, FINE, 6>(weights, inputs),
        7 => tile::<LINES, FINE, 7>(weights, inputs),
        _ => tile::<LINES, FINE, TILE>(weights, inputs),
    }
}

/// 8 lines times 32 quants, for each of 16 rows.
macro_rules! dot {
    ($weights:ident, $quants:expr) => {{
        let quants: *const i8 = $quants.as_ptr();
        let mut dot = _mm512_setzero_si512();
        dot!(@quads dot, $weights, quants, 0 1 2 3 4 5 6 7);
        _mm512_cvtepi32_ps(dot)
    }};
    (@quads $dot:ident, $weights:ident, $quants:ident, $($quad:literal)*) => {$(
        // SAFETY: four of the 32 quants; the read need not be aligned.
        let four = unsafe { $quants.add($quad * QUAD).cast::<i32>().read_unaligned() };
        $dot = _mm512_dpbusd_epi32($dot, $weights[$quad], _mm512_set1_epi32(four));
    )*};
}

/// The 8 lines of a block with one quant a byte.
macro_rules! unpack {
    ($lines:ident, $count:ident) => {{
        // SAFETY: `$lines` points to `$count` lines of 64 bytes, aligned to 64.
        let line = |index: usize| unsafe { _mm512_load_si512($lines.as_ptr().add(index % $count).cast()) };
        let (a, b, c, d) = (line(0), line(1), line(2), line(3));
        if $count == 4 {
            let low = _mm512_set1_epi8(15);
            let [e, f, g, h]: [__m512i; 4] = [
                _mm512_srli_epi16::<4>(a),
                _mm512_srli_epi16::<4>(b),
                _mm512_srli_epi16::<4>(c),
                _mm512_srli_epi16::<4>(d),
            ];
            [
                _mm512_and_si512(a, low),
                _mm512_and_si512(b, low),
                _mm512_and_si512(c, low),
                _mm512_and_si512(d, low),
                _mm512_and_si512(e, low),
                _mm512_and_si512(f, low),
                _mm512_and_si512(g, low),
                _mm512_and_si512(h, low),
            ]
        } else {
            [a, b, c, d, line(4), line(5), line(6), line(7)]
        }
    }};
}

/// 16 half-precision floats.
macro_rules! halves {
    ($bits:expr) => {
        // SAFETY: 16 halves are 32 bytes; the load need not be aligned.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256($bits.as_ptr().cast()) })
    };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tile<const LINES: usize, const FINE: bool, const TOKENS: usize>(
    weights: &RowGroup<'_>,
    inputs: &Inputs<'_>,
) -> TileSums {
    let mut sums: [__m512; TILE] = [_mm512_setzero_ps(); TILE];
    let zero = _mm512_set1_ps(weights.zero);
    let blocks = weights
        .lines
        .chunks_exact(LINES)
        .zip(weights.scales)
        .zip(inputs.groups);
    for (group, ((lines, scales), input)) in blocks.enumerate() {
        let quants = unpack!(lines, LINES);
        let scale = halves!(scales);
        let minimum = match weights.minima.get(group) {
            Some(minima) => halves!(minima),
            None => _mm512_mul_ps(zero, scale),
        };
        macro_rules! tokens {
            ($($token:literal)*) => {$(
                if $token < TOKENS {
                    let mut product = dot!(quants, input.quants[$token]);
                    if FINE {
                        let rest = dot!(quants, input.residuals[$token]);
                        product = _mm512_fmadd_ps(rest, _mm512_set1_ps(RESIDUAL), product);
                    }
                    let scales = _mm512_mul_ps(scale, _mm512_set1_ps(input.scales[$token]));
                    let sum = _mm512_fmadd_ps(product, scales, sums[$token]);
                    sums[$token] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(input.totals[$token]), sum);
                }
            )*};
        }
        tokens!(0 1 2 3 4 5 6 7);
    }
    let mut out = [[0.0; ROWS]; TILE];
    for (out, sum) in out.iter_mut().zip(sums).take(TOKENS) {
        // SAFETY: `out` has room for 16 floats.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
    }
    out
}
