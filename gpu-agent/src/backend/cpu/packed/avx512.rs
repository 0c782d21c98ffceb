//! The product with 512-bit registers and VNNI dot products.

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

use super::{GROUP, Inputs, Line, QUAD, RESIDUAL, ROWS, Rest, RowGroup, TILE, TileSums, Width};

/// `sums[token][row]` over all blocks of a row group.
pub(super) fn multiply(rows: &RowGroup<'_>, inputs: &Inputs<'_>) -> TileSums {
    let tokens = inputs.tokens;
    // SAFETY: `Isa::Avx512Vnni` exists only where `Isa::detect` found these features.
    unsafe {
        match (rows.width, !rows.minima.is_empty(), inputs.rest.is_some()) {
            (Width::Four, true, false) => by_tokens::<4, true, false>(rows, inputs, tokens),
            (Width::Four, true, true) => by_tokens::<4, true, true>(rows, inputs, tokens),
            (Width::Four, false, false) => by_tokens::<4, false, false>(rows, inputs, tokens),
            (Width::Four, false, true) => by_tokens::<4, false, true>(rows, inputs, tokens),
            (Width::Eight, true, false) => by_tokens::<8, true, false>(rows, inputs, tokens),
            (Width::Eight, true, true) => by_tokens::<8, true, true>(rows, inputs, tokens),
            (Width::Eight, false, false) => by_tokens::<8, false, false>(rows, inputs, tokens),
            (Width::Eight, false, true) => by_tokens::<8, false, true>(rows, inputs, tokens),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn by_tokens<const LINES: usize, const MINIMA: bool, const FINE: bool>(
    rows: &RowGroup<'_>,
    inputs: &Inputs<'_>,
    tokens: usize,
) -> TileSums {
    match tokens {
        1 => tile::<LINES, MINIMA, FINE, 1>(rows, inputs),
        2 => tile::<LINES, MINIMA, FINE, 2>(rows, inputs),
        3 => tile::<LINES, MINIMA, FINE, 3>(rows, inputs),
        4 => tile::<LINES, MINIMA, FINE, 4>(rows, inputs),
        5 => tile::<LINES, MINIMA, FINE, 5>(rows, inputs),
        6 => tile::<LINES, MINIMA, FINE, 6>(rows, inputs),
        7 => tile::<LINES, MINIMA, FINE, 7>(rows, inputs),
        _ => tile::<LINES, MINIMA, FINE, TILE>(rows, inputs),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[expect(clippy::cast_precision_loss, reason = "sums of 32 bytes are below 2^24")]
fn tile<const LINES: usize, const MINIMA: bool, const FINE: bool, const TOKENS: usize>(
    rows: &RowGroup<'_>,
    inputs: &Inputs<'_>,
) -> TileSums {
    let groups = inputs.groups;
    assert!(inputs.quants.len() == TOKENS * groups * GROUP);
    assert!(inputs.scales.len() == TOKENS * groups && inputs.sums.len() == TOKENS * groups);
    assert!(rows.lines.len() == groups * LINES && rows.scales.len() == groups);
    let rest = inputs.rest.as_ref().unwrap_or(&Rest {
        quants: &[],
        sums: &[],
    });
    assert!(!FINE || (rest.quants.len() == TOKENS * groups * GROUP && rest.sums.len() == TOKENS * groups));
    let mut sums: [__m512; TOKENS] = [_mm512_setzero_ps(); TOKENS];
    let zero = -i32::from(rows.zero);
    for group in 0..groups {
        let weights = unpack::<LINES>(&rows.lines[group * LINES..][..LINES]);
        let scale = halves(&rows.scales[group]);
        let minimum = if MINIMA {
            halves(&rows.minima[group])
        } else {
            _mm512_setzero_ps()
        };
        for (token, sum) in sums.iter_mut().enumerate() {
            let at = token * groups + group;
            // SAFETY: `at < TOKENS * groups`, which the lengths were asserted to cover.
            let (input_scale, input_sum) =
                unsafe { (*inputs.scales.get_unchecked(at), *inputs.sums.get_unchecked(at)) };
            let start = if MINIMA { 0 } else { zero };
            // SAFETY: the quants of group `at` are within the asserted length.
            let dot = unsafe {
                dot(
                    &weights,
                    inputs.quants.as_ptr().add(at * GROUP),
                    start * input_sum,
                )
            };
            let mut product = _mm512_cvtepi32_ps(dot);
            let mut total = input_sum as f32;
            if FINE {
                // SAFETY: `at` is within the asserted length.
                let rest_sum = unsafe { *rest.sums.get_unchecked(at) };
                // SAFETY: as for the quants.
                let dot =
                    unsafe { self::dot(&weights, rest.quants.as_ptr().add(at * GROUP), start * rest_sum) };
                product = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(RESIDUAL), product);
                total += rest_sum as f32 * RESIDUAL;
            }
            let scales = _mm512_mul_ps(scale, _mm512_set1_ps(input_scale));
            *sum = _mm512_fmadd_ps(product, scales, *sum);
            if MINIMA {
                let total = _mm512_set1_ps(input_scale * total);
                *sum = _mm512_fmadd_ps(minimum, total, *sum);
            }
        }
    }
    let mut out = [[0.0; ROWS]; TILE];
    for (out, sum) in out.iter_mut().zip(sums) {
        // SAFETY: `out` has room for 16 floats.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
    }
    out
}

/// `start` and the products of 8 lines with 32 quants, for each of 16 rows.
///
/// # Safety
/// 32 bytes can be read at `quants`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn dot(weights: &[__m512i; 8], quants: *const i8, start: i32) -> __m512i {
    let mut dot = _mm512_set1_epi32(start);
    for (quad, weights) in weights.iter().enumerate() {
        // SAFETY: four of the 32 bytes; the read need not be aligned.
        let four = unsafe { quants.add(quad * QUAD).cast::<i32>().read_unaligned() };
        dot = _mm512_dpbusd_epi32(dot, *weights, _mm512_set1_epi32(four));
    }
    dot
}

/// The 8 lines of a block with one quant a byte.
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack<const LINES: usize>(lines: &[Line]) -> [__m512i; 8] {
    let mut weights = [_mm512_setzero_si512(); 8];
    for (index, line) in lines.iter().enumerate() {
        // SAFETY: a line is 64 bytes, aligned to 64.
        let line = unsafe { _mm512_load_si512(line.0.as_ptr().cast()) };
        if LINES == 4 {
            let low = _mm512_set1_epi8(15);
            weights[index] = _mm512_and_si512(line, low);
            weights[index + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(line), low);
        } else {
            weights[index] = line;
        }
    }
    weights
}

#[target_feature(enable = "avx512f,avx512bw")]
fn halves(bits: &[u16; ROWS]) -> __m512 {
    // SAFETY: 16 halves are 32 bytes; the load need not be aligned.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) })
}
