//! What operations in single precision share: how they begin and end, and what is least and most.

/// Subnormal numbers become zero of their sign.
#[inline]
pub fn flushed(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(if bits & 0x7f80_0000 == 0 {
        bits & 0x8000_0000
    } else {
        bits
    })
}

#[inline]
pub(super) fn flush_if<const FLUSH: bool>(value: f32) -> f32 {
    if FLUSH { flushed(value) } else { value }
}

/// Ends an operation: flush, then clamp to [0, 1] with NaN as zero.
#[inline]
pub(super) fn finish<const FLUSH: bool, const SATURATE: bool>(value: f32) -> f32 {
    let value = flush_if::<FLUSH>(value);
    if SATURATE {
        if value > 0.0 { value.min(1.0) } else { 0.0 }
    } else {
        value
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the bits of a single-precision number fill 32"
)]
pub(super) fn rounded(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// `min` and `max`: a NaN gives way to a number, unless `.NaN` is there; -0 is less than +0.
pub(super) fn pick<const MOST: bool, const NAN: bool>(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() {
        let number = if a.is_nan() { b } else { a };
        return if NAN || number.is_nan() { f32::NAN } else { number };
    }
    let first_is_less = a < b || (a == b && a.is_sign_negative());
    if first_is_less == MOST { b } else { a }
}
