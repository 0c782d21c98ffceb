//! Scores and weighted values with 512-bit registers.

#![expect(
    unsafe_code,
    reason = "vector loads and calls into code for a detected instruction set"
)]

use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_storeu_ps,
};

use super::kernel::attention_kernel;
use crate::backend::{
    arithmetic::{CHAINS, FREE_ORDER},
    cpu::cache::BLOCK_TOKENS,
};

/// Floats of a register.
const LANES: usize = 16;
/// Registers that hold a head of 64.
const COLUMNS: usize = 4;

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(value: f32) -> __m512 {
    _mm512_set1_ps(value)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(a, b)
}

/// `sum + a · b`, rounded twice.
#[inline]
#[target_feature(enable = "avx512f")]
fn multiply_add(sum: __m512, a: __m512, b: __m512) -> __m512 {
    if FREE_ORDER {
        _mm512_fmadd_ps(a, b, sum)
    } else {
        _mm512_add_ps(sum, _mm512_mul_ps(a, b))
    }
}

/// # Safety
/// The pointer is to a register's floats.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const f32) -> __m512 {
    // SAFETY: by the caller.
    unsafe { _mm512_loadu_ps(from) }
}

/// # Safety
/// The pointer is to a register's floats.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(to: *mut f32, values: __m512) {
    // SAFETY: by the caller.
    unsafe { _mm512_storeu_ps(to, values) };
}

attention_kernel!("avx512f");
