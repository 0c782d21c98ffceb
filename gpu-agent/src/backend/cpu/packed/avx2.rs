//! The product with 256-bit registers: each line is two registers of 8 rows.

#![expect(
    unsafe_code,
    reason = "vector loads and a call into code for a detected instruction set"
)]

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi32, _mm256_and_si256,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_load_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_srli_epi16,
    _mm256_storeu_ps, _mm256_xor_si256,
};

use super::{GROUP, Inputs, QUAD, RESIDUAL, ROWS, RowGroup, TILE, TileSums, Width};

/// Rows of one register.
const HALF: usize = 8;
/// The negated quant of zero of formats whose unsigned quants use all 8 bits: their products overflow 16 bits unless they are
/// made signed, which also makes their minimum zero.
const SIGNED_ZERO: f32 = -128.0;

/// `sums[token][row]` over all blocks of a row group.
pub(super) fn multiply(weights: &RowGroup<'_>, inputs: &Inputs<'_>) -> TileSums {
    let mut out = [[0.0; ROWS]; TILE];
    for half in 0..2 {
        // SAFETY: `Isa::Avx2` exists only where `Isa::detect` found these features.
        unsafe { multiply_half(weights, inputs, half, &mut out) };
    }
    out
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_half(weights: &RowGroup<'_>, inputs: &Inputs<'_>, half: usize, out: &mut TileSums) {
    let mut sums: [__m256; TILE] = [_mm256_setzero_ps(); TILE];
    let signed = weights.minima.is_empty() && weights.zero == SIGNED_ZERO;
    let zero = _mm256_set1_ps(if signed { 0.0 } else { weights.zero });
    for (group, input) in inputs.groups.iter().enumerate() {
        let quants = unpack(weights, group, half);
        let scale = halves(&weights.scales[group], half);
        let minimum = match weights.minima.get(group) {
            Some(minima) => halves(minima, half),
            None => _mm256_mul_ps(zero, scale),
        };
        for (token, sum) in sums.iter_mut().enumerate().take(inputs.tokens) {
            let mut product = dot(&quants, &input.quants[token], signed);
            if inputs.fine {
                let rest = dot(&quants, &input.residuals[token], signed);
                product = _mm256_fmadd_ps(rest, _mm256_set1_ps(RESIDUAL), product);
            }
            let scales = _mm256_mul_ps(scale, _mm256_set1_ps(input.scales[token]));
            *sum = _mm256_fmadd_ps(product, scales, *sum);
            *sum = _mm256_fmadd_ps(minimum, _mm256_set1_ps(input.totals[token]), *sum);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        // SAFETY: the half of a row of 16 floats has room for 8.
        unsafe { _mm256_storeu_ps(out[half * HALF..][..HALF].as_mut_ptr(), sum) };
    }
}

/// 8 half lines times 32 quants, for each of 8 rows.
#[inline]
#[target_feature(enable = "avx2")]
fn dot(weights: &[__m256i; 8], quants: &[i8; GROUP], signed: bool) -> __m256 {
    let mut dot = _mm256_setzero_si256();
    for (weights, four) in weights.iter().zip(quants.as_chunks::<QUAD>().0) {
        let four = i32::from_ne_bytes(four.map(i8::cast_unsigned));
        dot = _mm256_add_epi32(dot, four_products(*weights, _mm256_set1_epi32(four), signed));
    }
    _mm256_cvtepi32_ps(dot)
}

/// Sums of four products in each 32-bit lane.
#[inline]
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
#[inline]
#[target_feature(enable = "avx2")]
fn unpack(weights: &RowGroup<'_>, group: usize, half: usize) -> [__m256i; 8] {
    let mut quants = [_mm256_setzero_si256(); 8];
    let count = weights.width.lines();
    for (index, line) in weights.lines[group * count..][..count].iter().enumerate() {
        // SAFETY: half of a line is 32 bytes, aligned to 32.
        let line = unsafe { _mm256_load_si256(line.0[half * 32..][..32].as_ptr().cast()) };
        if weights.width == Width::Four {
            let low = _mm256_set1_epi8(15);
            quants[index] = _mm256_and_si256(line, low);
            quants[index + 4] = _mm256_and_si256(_mm256_srli_epi16::<4>(line), low);
        } else {
            quants[index] = line;
        }
    }
    quants
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn halves(bits: &[u16; ROWS], half: usize) -> __m256 {
    // SAFETY: 8 halves are 16 bytes; the load need not be aligned.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bits[half * HALF..][..HALF].as_ptr().cast()) })
}
