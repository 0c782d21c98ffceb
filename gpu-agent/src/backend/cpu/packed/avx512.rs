//! The product with 512-bit registers and VNNI dot products.

#![expect(
    unsafe_code,
    reason = "vector loads and calls into code for a detected instruction set"
)]

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_loadu_si256, _mm512_add_epi8,
    _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_load_si512, _mm512_loadu_ps, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi16, _mm512_slli_epi32, _mm512_srai_epi32,
    _mm512_srli_epi16, _mm512_store_si512, _mm512_storeu_ps, _mm512_ternarylogic_epi32, _mm512_xor_si512,
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
const LANES: usize = 16;
/// Unsigned bytes are multiplied with signed ones.
const SIGNED_BYTES: bool = false;

macro_rules! vectors {
    ($($(#[$meta:meta])* fn $name:ident $(<const $constant:ident: $of:ty>)? ($($arg:ident: $kind:ty),*) -> $result:ty $body:block)*) => {$(
        $(#[$meta])*
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        fn $name $(<const $constant: $of>)? ($($arg: $kind),*) -> $result $body
    )*};
}

vectors! {
    fn low_nibbles(bytes: __m512i) -> __m512i { _mm512_and_si512(bytes, _mm512_set1_epi8(15)) }
    fn high_nibbles(bytes: __m512i) -> __m512i {
        _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), _mm512_set1_epi8(15))
    }
    fn left<const BITS: u32>(bytes: __m512i) -> __m512i { _mm512_slli_epi16::<BITS>(bytes) }
    fn right<const BITS: u32>(bytes: __m512i) -> __m512i { _mm512_srli_epi16::<BITS>(bytes) }
    /// `low | high & MASK`
    fn merge<const MASK: i8>(low: __m512i, high: __m512i) -> __m512i {
        _mm512_ternarylogic_epi32::<0xF8>(low, high, _mm512_set1_epi8(MASK))
    }
    fn splat_bytes(byte: i8) -> __m512i { _mm512_set1_epi8(byte) }
    fn add_bytes(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi8(a, b) }
    fn splat_ints(value: i32) -> __m512i { _mm512_set1_epi32(value) }
    /// `2^bits · sum`, of `128 · sum`.
    fn zero_times(start: i32, bits: u32) -> __m512i {
        let starts = _mm512_set1_epi32(start);
        match bits {
            3 => _mm512_srai_epi32::<4>(starts),
            4 => _mm512_srai_epi32::<3>(starts),
            5 => _mm512_srai_epi32::<2>(starts),
            _ => starts,
        }
    }
    fn add_ints(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
    fn multiply_ints(a: __m512i, b: __m512i) -> __m512i { _mm512_mullo_epi32(a, b) }
    fn times_256(a: __m512i) -> __m512i { _mm512_slli_epi32::<8>(a) }
    fn four_products(sum: __m512i, weights: __m512i, activations: i32, _signed: bool) -> __m512i {
        _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(activations))
    }
    fn to_floats(a: __m512i) -> __m512 { _mm512_cvtepi32_ps(a) }
    fn splat(value: f32) -> __m512 { _mm512_set1_ps(value) }
    fn add_floats(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
    fn multiply_floats(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
    /// `sum + a · b`, rounded twice.
    fn multiply_add(sum: __m512, a: __m512, b: __m512) -> __m512 {
        if FREE_ORDER { _mm512_fmadd_ps(a, b, sum) } else { _mm512_add_ps(sum, _mm512_mul_ps(a, b)) }
    }
    fn negate(a: __m512) -> __m512 {
        let sign = _mm512_set1_epi32(i32::MIN);
        _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), sign))
    }
}

/// Loads and stores. `half` is 0: one register holds all rows.
///
/// # Safety
/// The pointers are to as many bytes as are read or written; lines are aligned.
macro_rules! memory {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $kind:ty),*) $(-> $result:ty)? $body:block)*) => {$(
        $(#[$meta])*
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        unsafe fn $name($($arg: $kind),*) $(-> $result)? {
            // SAFETY: by the caller.
            unsafe { $body }
        }
    )*};
}

memory! {
    fn load(line: *const Line, _half: usize) -> __m512i { _mm512_load_si512(line.cast()) }
    fn store(line: *mut Line, _half: usize, bytes: __m512i) { _mm512_store_si512(line.cast(), bytes) }
    fn load_floats(from: *const u8, _half: usize) -> __m512 { _mm512_loadu_ps(from.cast()) }
    fn store_floats(to: *mut u8, _half: usize, floats: __m512) { _mm512_storeu_ps(to.cast(), floats) }
    fn halves_to_floats(from: *const u8, _half: usize) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))
    }
    fn bytes_to_floats(from: *const u8, _half: usize) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())))
    }
    fn signed_to_ints(from: *const i8, _half: usize) -> __m512i {
        _mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))
    }
}

product_kernel!("avx512f,avx512bw,avx512vl,avx512vnni", TILE);
