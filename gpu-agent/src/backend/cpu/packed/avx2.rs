//! The product with 256-bit registers: each line is two registers of 8 rows.

#![expect(
    unsafe_code,
    reason = "vector loads and calls into code for a detected instruction set"
)]

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T0, _mm_loadl_epi64, _mm_loadu_si128, _mm_prefetch, _mm256_abs_epi8,
    _mm256_add_epi8, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_castps_si256,
    _mm256_castsi256_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtph_ps,
    _mm256_fmadd_ps, _mm256_load_si256, _mm256_loadu_ps, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_mul_ps, _mm256_mullo_epi32, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_sign_epi8, _mm256_slli_epi16, _mm256_slli_epi32,
    _mm256_srai_epi32, _mm256_srli_epi16, _mm256_store_si256, _mm256_storeu_ps, _mm256_xor_si256,
};

use super::{
    Inputs, Line, Segment, TileSums,
    form::{BLOCKS, Form, QUAD, QUADS, ROWS, Scales, number},
    kernel::{AHEAD, Pass, by_number, dot, factors, integer, product_kernel, unpack, unroll},
};
use crate::backend::{
    arithmetic::{FREE_ORDER, RESIDUAL},
    cpu::activations::{TILE, TileGroup},
};

/// Rows of a register.
const LANES: usize = 8;
/// Products of unsigned bytes that use all 8 bits would overflow the 16 bits that two of them are added in. With 128
/// taken off they fit: 2 · 128 · 127 is 32,512. Quants of up to 6 bits fit as they are.
const SIGNED_BYTES: bool = true;

macro_rules! vectors {
    ($($(#[$meta:meta])* fn $name:ident $(<const $constant:ident: $of:ty>)? ($($arg:ident: $kind:ty),*) -> $result:ty $body:block)*) => {$(
        $(#[$meta])*
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn $name $(<const $constant: $of>)? ($($arg: $kind),*) -> $result $body
    )*};
}

vectors! {
    fn low_nibbles(bytes: __m256i) -> __m256i { _mm256_and_si256(bytes, _mm256_set1_epi8(15)) }
    fn high_nibbles(bytes: __m256i) -> __m256i {
        _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(15))
    }
    fn left<const BITS: i32>(bytes: __m256i) -> __m256i { _mm256_slli_epi16::<BITS>(bytes) }
    fn right<const BITS: i32>(bytes: __m256i) -> __m256i { _mm256_srli_epi16::<BITS>(bytes) }
    /// `low | high & MASK`
    fn merge<const MASK: i8>(low: __m256i, high: __m256i) -> __m256i {
        _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(MASK)))
    }
    fn splat_bytes(byte: i8) -> __m256i { _mm256_set1_epi8(byte) }
    fn add_bytes(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi8(a, b) }
    fn splat_ints(value: i32) -> __m256i { _mm256_set1_epi32(value) }
    /// `2^bits · sum`, of `128 · sum`.
    fn zero_times(start: i32, bits: u32) -> __m256i {
        let starts = _mm256_set1_epi32(start);
        match bits {
            3 => _mm256_srai_epi32::<4>(starts),
            4 => _mm256_srai_epi32::<3>(starts),
            5 => _mm256_srai_epi32::<2>(starts),
            _ => starts,
        }
    }
    fn add_ints(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi32(a, b) }
    fn multiply_ints(a: __m256i, b: __m256i) -> __m256i { _mm256_mullo_epi32(a, b) }
    fn times_256(a: __m256i) -> __m256i { _mm256_slli_epi32::<8>(a) }
    fn four_products(sum: __m256i, weights: __m256i, activations: i32, signed: bool) -> __m256i {
        let activations = _mm256_set1_epi32(activations);
        let pairs = if signed {
            let weights = _mm256_xor_si256(weights, _mm256_set1_epi8(i8::MIN));
            _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(activations, weights))
        } else {
            _mm256_maddubs_epi16(weights, activations)
        };
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
    fn to_floats(a: __m256i) -> __m256 { _mm256_cvtepi32_ps(a) }
    fn splat(value: f32) -> __m256 { _mm256_set1_ps(value) }
    fn add_floats(a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
    fn multiply_floats(a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
    /// `sum + a · b`, rounded twice.
    fn multiply_add(sum: __m256, a: __m256, b: __m256) -> __m256 {
        if FREE_ORDER { _mm256_fmadd_ps(a, b, sum) } else { _mm256_add_ps(sum, _mm256_mul_ps(a, b)) }
    }
    fn negate(a: __m256) -> __m256 {
        let sign = _mm256_set1_epi32(i32::MIN);
        _mm256_castsi256_ps(_mm256_xor_si256(_mm256_castps_si256(a), sign))
    }
}

/// Loads and stores of the rows of one half.
///
/// # Safety
/// The pointers are to as many bytes as are read or written; lines are aligned.
macro_rules! memory {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $kind:ty),*) $(-> $result:ty)? $body:block)*) => {$(
        $(#[$meta])*
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn $name($($arg: $kind),*) $(-> $result)? {
            // SAFETY: by the caller.
            unsafe { $body }
        }
    )*};
}

memory! {
    fn load(line: *const Line, half: usize) -> __m256i {
        _mm256_load_si256(line.cast::<__m256i>().add(half))
    }
    fn store(line: *mut Line, half: usize, bytes: __m256i) {
        _mm256_store_si256(line.cast::<__m256i>().add(half), bytes);
    }
    fn load_floats(from: *const u8, half: usize) -> __m256 {
        _mm256_loadu_ps(from.add(half * LANES * 4).cast())
    }
    fn store_floats(to: *mut u8, half: usize, floats: __m256) {
        _mm256_storeu_ps(to.add(half * LANES * 4).cast(), floats);
    }
    fn halves_to_floats(from: *const u8, half: usize) -> __m256 {
        _mm256_cvtph_ps(_mm_loadu_si128(from.add(half * LANES * 2).cast()))
    }
    fn bytes_to_floats(from: *const u8, half: usize) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(half * LANES).cast())))
    }
    fn signed_to_ints(from: *const i8, half: usize) -> __m256i {
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(half * LANES).cast()))
    }
}

product_kernel!("avx2,fma,f16c", 4);
