//! Scores and weighted values with 256-bit registers.

#![expect(
    unsafe_code,
    reason = "vector loads and calls into code for a detected instruction set"
)]

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_storeu_ps,
};

use super::kernel::attention_kernel;
use crate::backend::{
    arithmetic::{CHAINS, FREE_ORDER},
    cpu::cache::BLOCK_TOKENS,
};

/// Floats of a register.
const LANES: usize = 8;
/// Registers that hold a head of 64.
const COLUMNS: usize = 8;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn splat(value: f32) -> __m256 {
    _mm256_set1_ps(value)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add(a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(a, b)
}

/// `sum + a · b`, rounded twice.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply_add(sum: __m256, a: __m256, b: __m256) -> __m256 {
    if FREE_ORDER {
        _mm256_fmadd_ps(a, b, sum)
    } else {
        _mm256_add_ps(sum, _mm256_mul_ps(a, b))
    }
}

/// # Safety
/// The pointer is to a register's floats.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load(from: *const f32) -> __m256 {
    // SAFETY: by the caller.
    unsafe { _mm256_loadu_ps(from) }
}

/// # Safety
/// The pointer is to a register's floats.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(to: *mut f32, values: __m256) {
    // SAFETY: by the caller.
    unsafe { _mm256_storeu_ps(to, values) };
}

attention_kernel!("avx2,fma");
