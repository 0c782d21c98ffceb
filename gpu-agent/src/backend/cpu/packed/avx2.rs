//! The product with 256-bit registers: each line is two registers of 8 rows.

#![expect(
    unsafe_code,
    reason = "vector loads and a call into code for a detected instruction set"
)]

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi32, _mm256_and_si256,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_load_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_sign_epi8, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm256_xor_si256,
};

use super::{GROUP, Inputs, QUAD, RESIDUAL, ROWS, RowGroup, TILE, TileSums, Width};

/// Rows of one register.
const HALF: usize = 8;
/// The quant of zero of formats whose unsigned quants use all 8 bits: their products overflow 16 bits unless made signed.
const SIGNED_ZERO: u8 = 128;

/// `sums[token][row]` over all blocks of a row group.
pub(super) fn multiply(rows: &RowGroup<'_>, inputs: &Inputs<'_>) -> TileSums {
    let mut out = [[0.0; ROWS]; TILE];
    for half in 0..2 {
        // SAFETY: `Isa::Avx2` exists only where `Isa::detect` found these features.
        unsafe { multiply_half(rows, inputs, half, &mut out) };
    }
    out
}

#[target_feature(enable = "avx2,fma,f16c")]
#[expect(clippy::cast_precision_loss, reason = "sums of 32 bytes are below 2^24")]
fn multiply_half(rows: &RowGroup<'_>, inputs: &Inputs<'_>, half: usize, out: &mut TileSums) {
    let mut sums: [__m256; TILE] = [_mm256_setzero_ps(); TILE];
    let signed = rows.zero == SIGNED_ZERO;
    let zero = if signed { 0 } else { -i32::from(rows.zero) };
    for group in 0..inputs.groups {
        let weights = unpack(rows, group, half);
        let scale = halves(&rows.scales[group], half);
        let minimum = rows.minima.get(group).map(|minima| halves(minima, half));
        for (token, sum) in sums.iter_mut().enumerate().take(inputs.tokens) {
            let at = token * inputs.groups + group;
            let (input_scale, input_sum) = (inputs.scales[at], inputs.sums[at]);
            let block = at * GROUP..(at + 1) * GROUP;
            let mut product = _mm256_cvtepi32_ps(dot(
                &weights,
                &inputs.quants[block.clone()],
                zero * input_sum,
                signed,
            ));
            let mut total = input_sum as f32;
            if let Some(rest) = &inputs.rest {
                let dot = dot(&weights, &rest.quants[block], zero * rest.sums[at], signed);
                product = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(RESIDUAL), product);
                total += rest.sums[at] as f32 * RESIDUAL;
            }
            let scales = _mm256_mul_ps(scale, _mm256_set1_ps(input_scale));
            *sum = _mm256_fmadd_ps(product, scales, *sum);
            if let Some(minimum) = minimum {
                *sum = _mm256_fmadd_ps(minimum, _mm256_set1_ps(input_scale * total), *sum);
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        // SAFETY: the half of a row of 16 floats has room for 8.
        unsafe { _mm256_storeu_ps(out[half * HALF..][..HALF].as_mut_ptr(), sum) };
    }
}

/// `start` and the products of 8 half lines with 32 quants, for each of 8 rows.
#[target_feature(enable = "avx2")]
fn dot(weights: &[__m256i; 8], quants: &[i8], start: i32, signed: bool) -> __m256i {
    let mut dot = _mm256_set1_epi32(start);
    for (weights, four) in weights.iter().zip(quants.as_chunks::<QUAD>().0) {
        let four = i32::from_ne_bytes(four.map(i8::cast_unsigned));
        dot = _mm256_add_epi32(dot, four_products(*weights, _mm256_set1_epi32(four), signed));
    }
    dot
}

/// Sums of four products in each 32-bit lane.
#[target_feature(enable = "avx2")]
fn four_products(weights: __m256i, activations: __m256i, signed: bool) -> __m256i {
    let pairs = if signed {
        let weights = _mm256_xor_si256(weights, _mm256_set1_epi8(i8::MIN));
        _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(activations, weights))
    } else {
        _mm256_maddubs_epi16(weights, activations)
    };
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

/// One half of the 8 lines of a block, one quant a byte.
#[target_feature(enable = "avx2")]
fn unpack(rows: &RowGroup<'_>, group: usize, half: usize) -> [__m256i; 8] {
    let mut weights = [_mm256_set1_epi8(0); 8];
    let count = rows.width.lines();
    for (index, line) in rows.lines[group * count..][..count].iter().enumerate() {
        // SAFETY: half of a line is 32 bytes, aligned to 32.
        let line = unsafe { _mm256_load_si256(line.0[half * 32..][..32].as_ptr().cast()) };
        if rows.width == Width::Four {
            let low = _mm256_set1_epi8(15);
            weights[index] = _mm256_and_si256(line, low);
            weights[index + 4] = _mm256_and_si256(_mm256_srli_epi16::<4>(line), low);
        } else {
            weights[index] = line;
        }
    }
    weights
}

#[target_feature(enable = "avx2,f16c")]
fn halves(bits: &[u16; ROWS], half: usize) -> __m256 {
    // SAFETY: 8 halves are 16 bytes; the load need not be aligned.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bits[half * HALF..][..HALF].as_ptr().cast()) })
}
