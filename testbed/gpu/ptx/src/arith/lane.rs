//! Values in lanes.

use super::soft::CANONICAL_NAN;
use half::{bf16, f16};

/// A value that a lane of a row can hold.
pub trait Lane: Copy {
    /// The lane's integer: 32 or 64 bits.
    type Bits: Copy;
    /// The value in a lane.
    fn of(bits: Self::Bits) -> Self;
    /// The lane for a value.
    fn bits(self) -> Self::Bits;
}

macro_rules! integer_lanes {
    ($($value:ty, $bits:ty;)*) => { $(
        impl Lane for $value {
            type Bits = $bits;
            #[inline(always)]
            fn of(bits: $bits) -> Self { bits as $value }
            #[inline(always)]
            fn bits(self) -> $bits { self as $bits }
        }
    )* };
}
integer_lanes! { u8, u32; i8, u32; u16, u32; i16, u32; u32, u32; i32, u32; u64, u64; i64, u64; }

impl Lane for f32 {
    type Bits = u32;
    #[inline]
    fn of(bits: u32) -> Self {
        Self::from_bits(bits)
    }
    /// PTX gives one canonical NaN in single precision.
    #[inline]
    fn bits(self) -> u32 {
        if self.is_nan() {
            CANONICAL_NAN
        } else {
            self.to_bits()
        }
    }
}

impl Lane for f64 {
    type Bits = u64;
    #[inline]
    fn of(bits: u64) -> Self {
        Self::from_bits(bits)
    }
    #[inline]
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl Lane for f16 {
    type Bits = u32;
    #[inline]
    fn of(bits: u32) -> Self {
        Self::from_bits(narrow(bits))
    }
    #[inline]
    fn bits(self) -> u32 {
        u32::from(if self.is_nan() { 0x7fff } else { self.to_bits() })
    }
}

impl Lane for bf16 {
    type Bits = u32;
    #[inline]
    fn of(bits: u32) -> Self {
        Self::from_bits(narrow(bits))
    }
    #[inline]
    fn bits(self) -> u32 {
        u32::from(if self.is_nan() { 0x7fff } else { self.to_bits() })
    }
}

impl Lane for bool {
    type Bits = u32;
    #[inline]
    fn of(bits: u32) -> Self {
        bits & 1 != 0
    }
    #[inline]
    fn bits(self) -> u32 {
        u32::from(self)
    }
}

/// The low 16 bits of a lane.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
pub fn narrow(bits: u32) -> u16 {
    bits as u16
}

/// Makes a [`crate::arith::row::Function`] from an expression over lanes.
macro_rules! lanes {
    ($shape:ident, |$a:ident: $at:ty| $e:expr) => {
        $crate::arith::row::Function::$shape(|to, x| {
            for i in 0..32 {
                let $a = <$at as $crate::arith::lane::Lane>::of(x[i]);
                to[i] = $crate::arith::lane::Lane::bits($e);
            }
        })
    };
    ($shape:ident, |$a:ident: $at:ty, $b:ident: $bt:ty| $e:expr) => {
        $crate::arith::row::Function::$shape(|to, x, y| {
            for i in 0..32 {
                let $a = <$at as $crate::arith::lane::Lane>::of(x[i]);
                let $b = <$bt as $crate::arith::lane::Lane>::of(y[i]);
                to[i] = $crate::arith::lane::Lane::bits($e);
            }
        })
    };
    ($shape:ident, |$a:ident: $at:ty, $b:ident: $bt:ty, $c:ident: $ct:ty| $e:expr) => {
        $crate::arith::row::Function::$shape(|to, x, y, z| {
            for i in 0..32 {
                let $a = <$at as $crate::arith::lane::Lane>::of(x[i]);
                let $b = <$bt as $crate::arith::lane::Lane>::of(y[i]);
                let $c = <$ct as $crate::arith::lane::Lane>::of(z[i]);
                to[i] = $crate::arith::lane::Lane::bits($e);
            }
        })
    };
    ($shape:ident, |$a:ident: $at:ty, $b:ident: $bt:ty, $c:ident: $ct:ty, $d:ident: $dt:ty| $e:expr) => {
        $crate::arith::row::Function::$shape(|to, x, y, z, w| {
            for i in 0..32 {
                let $a = <$at as $crate::arith::lane::Lane>::of(x[i]);
                let $b = <$bt as $crate::arith::lane::Lane>::of(y[i]);
                let $c = <$ct as $crate::arith::lane::Lane>::of(z[i]);
                let $d = <$dt as $crate::arith::lane::Lane>::of(w[i]);
                to[i] = $crate::arith::lane::Lane::bits($e);
            }
        })
    };
}
pub(crate) use lanes;
