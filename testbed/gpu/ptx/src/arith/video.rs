//! Dot products of packed integers (PTX ISA 9.7.1.23 and 24).

use super::chosen::Chosen;
use super::lane::lanes;
use crate::ParseError;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;

/// Finds the function of an instruction of this family.
pub fn choose(name: &str, modifiers: &mut Modifiers<'_>) -> Result<Option<Chosen>, ParseError> {
    if !matches!(name, "dp4a" | "dp2a") {
        return Ok(None);
    }
    modifiers.need_target(61)?;
    let high = name == "dp2a" && modifiers.required(&[("lo", false), ("hi", true)])?;
    let (a, b) = (modifiers.kind()?, modifiers.kind()?);
    for kind in [a, b] {
        if !matches!(kind, Type::U32 | Type::S32) {
            return Err(modifiers.bad_type(kind));
        }
    }
    macro_rules! four {
        ($a:ty, $b:ty) => {
            lanes!(W3, |x: u32, y: u32, sum: u32| {
                let mut sum = sum;
                for i in 0..4 {
                    let product =
                        (<i32>::from((x >> (8 * i)) as $a)).wrapping_mul(<i32>::from((y >> (8 * i)) as $b));
                    sum = sum.wrapping_add(product.cast_unsigned());
                }
                sum
            })
        };
    }
    macro_rules! two {
        ($a:ty, $b:ty, $shift:literal) => {
            lanes!(W3, |x: u32, y: u32, sum: u32| {
                let low = (<i32>::from(x as $a)).wrapping_mul(<i32>::from((y >> $shift) as $b));
                let high =
                    (<i32>::from((x >> 16) as $a)).wrapping_mul(<i32>::from((y >> ($shift + 8)) as $b));
                sum.wrapping_add(low.cast_unsigned())
                    .wrapping_add(high.cast_unsigned())
            })
        };
    }
    let function = match (name, high, a.is_signed(), b.is_signed()) {
        ("dp4a", _, true, true) => lanes!(W3, |x: u32, y: u32, sum: u32| {
            // The same as below, written so that the compiler finds the vector form: even and odd bytes apart.
            let byte = |v: u32, i: u32| ((v << (24 - 8 * i)) as i32) >> 24;
            let sum = sum as i32;
            let sum = sum
                .wrapping_add(byte(x, 0) * byte(y, 0))
                .wrapping_add(byte(x, 1) * byte(y, 1));
            sum.wrapping_add(byte(x, 2) * byte(y, 2))
                .wrapping_add(byte(x, 3) * byte(y, 3))
        }),
        ("dp4a", _, true, false) => four!(i8, u8),
        ("dp4a", _, false, true) => four!(u8, i8),
        ("dp4a", _, false, false) => four!(u8, u8),
        (_, false, true, true) => two!(i16, i8, 0),
        (_, false, true, false) => two!(i16, u8, 0),
        (_, false, false, true) => two!(u16, i8, 0),
        (_, false, false, false) => two!(u16, u8, 0),
        (_, true, true, true) => two!(i16, i8, 16),
        (_, true, true, false) => two!(i16, u8, 16),
        (_, true, false, true) => two!(u16, i8, 16),
        (_, true, false, false) => two!(u16, u8, 16),
    };
    let sum = if a.is_signed() || b.is_signed() {
        Type::S32
    } else {
        Type::U32
    };
    Ok(Some(Chosen {
        function,
        types: vec![sum, a, b, sum],
        class: if name == "dp4a" {
            Class::Dot
        } else {
            Class::HalfDot
        },
    }))
}
