//! Integer arithmetic (PTX ISA 9.7.1).

use super::chosen::{Chosen, same};
use super::lane::{Lane, lanes};
use crate::ParseError;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;

/// One expression for each integer type of 16 to 64 bits.
macro_rules! by_type {
    ($modifiers:ident, $kind:expr, |$a:ident| $e:expr) => {
        match $kind {
            Type::U16 => lanes!(W1, |$a: u16| $e),
            Type::S16 => lanes!(W1, |$a: i16| $e),
            Type::U32 => lanes!(W1, |$a: u32| $e),
            Type::S32 => lanes!(W1, |$a: i32| $e),
            Type::U64 => lanes!(D1, |$a: u64| $e),
            Type::S64 => lanes!(D1, |$a: i64| $e),
            other => return Err($modifiers.bad_type(other)),
        }
    };
    ($modifiers:ident, $kind:expr, |$a:ident, $b:ident| $e:expr) => {
        match $kind {
            Type::U16 => lanes!(W2, |$a: u16, $b: u16| $e),
            Type::S16 => lanes!(W2, |$a: i16, $b: i16| $e),
            Type::U32 => lanes!(W2, |$a: u32, $b: u32| $e),
            Type::S32 => lanes!(W2, |$a: i32, $b: i32| $e),
            Type::U64 => lanes!(D2, |$a: u64, $b: u64| $e),
            Type::S64 => lanes!(D2, |$a: i64, $b: i64| $e),
            other => return Err($modifiers.bad_type(other)),
        }
    };
    ($modifiers:ident, $kind:expr, |$a:ident, $b:ident, $c:ident| $e:expr) => {
        match $kind {
            Type::U16 => lanes!(W3, |$a: u16, $b: u16, $c: u16| $e),
            Type::S16 => lanes!(W3, |$a: i16, $b: i16, $c: i16| $e),
            Type::U32 => lanes!(W3, |$a: u32, $b: u32, $c: u32| $e),
            Type::S32 => lanes!(W3, |$a: i32, $b: i32, $c: i32| $e),
            Type::U64 => lanes!(D3, |$a: u64, $b: u64, $c: u64| $e),
            Type::S64 => lanes!(D3, |$a: i64, $b: i64, $c: i64| $e),
            other => return Err($modifiers.bad_type(other)),
        }
    };
}

/// Finds the function of an instruction of this family.
pub fn choose(name: &str, modifiers: &mut Modifiers<'_>) -> Result<Option<Chosen>, ParseError> {
    // Packed halves of integers have no type of their own here; only extremes exist for them.
    if modifiers
        .peek_kind()
        .map_or(!matches!(name, "min" | "max"), Type::is_float)
    {
        return Ok(None);
    }
    let chosen = match name {
        "add" | "sub" => sum(name == "add", modifiers)?,
        "mul" | "mad" => product(name == "mad", modifiers)?,
        "mul24" | "mad24" => product24(name == "mad24", modifiers)?,
        "div" | "rem" => division(name == "div", modifiers)?,
        "min" | "max" => extreme(name == "max", modifiers)?,
        "abs" | "neg" => sign(name == "neg", modifiers)?,
        "sad" => {
            let kind = modifiers.kind()?;
            let function = by_type!(modifiers, kind, |a, b, c| c.wrapping_add(if a < b {
                b.wrapping_sub(a)
            } else {
                a.wrapping_sub(b)
            }));
            same(function, kind, 3, Class::Bits)
        }
        _ => return Ok(None),
    };
    Ok(Some(chosen))
}

fn sum(add: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let (saturate, kind) = (modifiers.flag("sat"), modifiers.kind()?);
    let function = match (add, saturate, kind) {
        (true, true, Type::S32) => lanes!(W2, |a: i32, b: i32| a.saturating_add(b)),
        (false, true, Type::S32) => lanes!(W2, |a: i32, b: i32| a.saturating_sub(b)),
        (_, true, other) => return Err(modifiers.bad_type(other)),
        (true, false, _) => by_type!(modifiers, kind, |a, b| a.wrapping_add(b)),
        (false, false, _) => by_type!(modifiers, kind, |a, b| a.wrapping_sub(b)),
    };
    Ok(same(function, kind, 2, Class::Integer))
}

fn product(add: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let part = modifiers.required(&[("lo", 'l'), ("hi", 'h'), ("wide", 'w')])?;
    let (saturate, kind) = (modifiers.flag("sat"), modifiers.kind()?);
    if saturate && (!add || part != 'h' || kind != Type::S32) {
        return Err(modifiers.refuse("`.sat` goes with `mad.hi.s32` alone".to_owned()));
    }
    if part == 'w' {
        return wide_product(add, kind, modifiers);
    }
    let function = match (part, add) {
        ('l', false) => by_type!(modifiers, kind, |a, b| a.wrapping_mul(b)),
        ('l', true) => by_type!(modifiers, kind, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        (_, false) => match kind {
            Type::U16 => lanes!(W2, |a: u16, b: u16| (u32::from(a) * u32::from(b)) >> 16),
            Type::S16 => lanes!(W2, |a: i16, b: i16| (i32::from(a) * i32::from(b)) >> 16),
            Type::U32 => lanes!(W2, |a: u32, b: u32| high_u32(a, b)),
            Type::S32 => lanes!(W2, |a: i32, b: i32| high_s32(a, b)),
            Type::U64 => lanes!(D2, |a: u64, b: u64| high_u64(a, b)),
            Type::S64 => lanes!(D2, |a: i64, b: i64| high_s64(a, b)),
            other => return Err(modifiers.bad_type(other)),
        },
        (_, true) => match kind {
            Type::U16 => lanes!(W3, |a: u16, b: u16, c: u16| (u32::from(a) * u32::from(b) >> 16)
                .wrapping_add(u32::from(c))),
            Type::S16 => lanes!(W3, |a: i16, b: i16, c: i16| (i32::from(a) * i32::from(b) >> 16)
                .wrapping_add(i32::from(c))),
            Type::U32 => lanes!(W3, |a: u32, b: u32, c: u32| high_u32(a, b).wrapping_add(c)),
            Type::S32 if saturate => lanes!(W3, |a: i32, b: i32, c: i32| high_s32(a, b).saturating_add(c)),
            Type::S32 => lanes!(W3, |a: i32, b: i32, c: i32| high_s32(a, b).wrapping_add(c)),
            Type::U64 => lanes!(D3, |a: u64, b: u64, c: u64| high_u64(a, b).wrapping_add(c)),
            Type::S64 => lanes!(D3, |a: i64, b: i64, c: i64| high_s64(a, b).wrapping_add(c)),
            other => return Err(modifiers.bad_type(other)),
        },
    };
    Ok(same(function, kind, if add { 3 } else { 2 }, Class::Multiply))
}

fn wide_product(add: bool, kind: Type, modifiers: &Modifiers<'_>) -> Result<Chosen, ParseError> {
    let (function, wide) = match (kind, add) {
        (Type::U16, false) => (
            lanes!(W2, |a: u16, b: u16| u32::from(a) * u32::from(b)),
            Type::U32,
        ),
        (Type::S16, false) => (
            lanes!(W2, |a: i16, b: i16| i32::from(a) * i32::from(b)),
            Type::S32,
        ),
        (Type::U32, false) => (
            lanes!(DWW, |a: u32, b: u32| u64::from(a) * u64::from(b)),
            Type::U64,
        ),
        (Type::S32, false) => (
            lanes!(DWW, |a: i32, b: i32| i64::from(a) * i64::from(b)),
            Type::S64,
        ),
        (Type::U16, true) => (
            lanes!(W3, |a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b))
                .wrapping_add(c)),
            Type::U32,
        ),
        (Type::S16, true) => (
            lanes!(W3, |a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b))
                .wrapping_add(c)),
            Type::S32,
        ),
        (Type::U32, true) => (
            lanes!(DWWD, |a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b))
                .wrapping_add(c)),
            Type::U64,
        ),
        (Type::S32, true) => (
            lanes!(DWWD, |a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b))
                .wrapping_add(c)),
            Type::S64,
        ),
        (other, _) => return Err(modifiers.bad_type(other)),
    };
    let mut types = vec![wide, kind, kind];
    if add {
        types.push(wide);
    }
    Ok(Chosen {
        function,
        types,
        class: Class::Multiply,
    })
}

fn high_u32(a: u32, b: u32) -> u32 {
    (u64::from(a) * u64::from(b) >> 32) as u32
}

fn high_s32(a: i32, b: i32) -> i32 {
    (i64::from(a) * i64::from(b) >> 32) as i32
}

fn high_u64(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) >> 64) as u64
}

fn high_s64(a: i64, b: i64) -> i64 {
    (i128::from(a) * i128::from(b) >> 64) as i64
}

/// The product of the low 24 bits has 48: `.lo` gives the low 32 of them, `.hi` the high 32.
fn product24(add: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let high = modifiers.required(&[("lo", false), ("hi", true)])?;
    let (saturate, kind) = (modifiers.flag("sat"), modifiers.kind()?);
    macro_rules! signed {
        ($a:ident, $b:ident) => {
            i64::from($a << 8 >> 8) * i64::from($b << 8 >> 8)
        };
    }
    macro_rules! unsigned {
        ($a:ident, $b:ident) => {
            u64::from($a & 0xff_ffff) * u64::from($b & 0xff_ffff)
        };
    }
    let function = match (kind, high, add) {
        (Type::S32, false, false) => lanes!(W2, |a: i32, b: i32| (signed!(a, b)) as u32),
        (Type::S32, true, false) => lanes!(W2, |a: i32, b: i32| (signed!(a, b) >> 16) as u32),
        (Type::U32, false, false) => lanes!(W2, |a: u32, b: u32| (unsigned!(a, b)) as u32),
        (Type::U32, true, false) => lanes!(W2, |a: u32, b: u32| (unsigned!(a, b) >> 16) as u32),
        (Type::S32, false, true) => lanes!(W3, |a: i32, b: i32, c: u32| (signed!(a, b) as u32)
            .wrapping_add(c)),
        (Type::S32, true, true) if saturate => {
            lanes!(W3, |a: i32, b: i32, c: i32| ((signed!(a, b) >> 16) as i32)
                .saturating_add(c))
        }
        (Type::S32, true, true) => lanes!(W3, |a: i32, b: i32, c: u32| ((signed!(a, b) >> 16) as u32)
            .wrapping_add(c)),
        (Type::U32, false, true) => lanes!(W3, |a: u32, b: u32, c: u32| (unsigned!(a, b) as u32)
            .wrapping_add(c)),
        (Type::U32, true, true) => lanes!(W3, |a: u32, b: u32, c: u32| ((unsigned!(a, b) >> 16) as u32)
            .wrapping_add(c)),
        (other, ..) => return Err(modifiers.bad_type(other)),
    };
    if saturate && (kind, high, add) != (Type::S32, true, true) {
        return Err(modifiers.refuse("`.sat` goes with `mad24.hi.s32` alone".to_owned()));
    }
    Ok(same(function, kind, if add { 3 } else { 2 }, Class::Multiply))
}

/// Division by zero gives all bits set, as the machine code of cards does; PTX leaves it open. The remainder is then
/// the dividend.
fn division(quotient: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let kind = modifiers.kind()?;
    let function = if quotient {
        by_type!(modifiers, kind, |a, b| if b == 0 {
            !0
        } else {
            a.wrapping_div(b)
        })
    } else {
        by_type!(modifiers, kind, |a, b| if b == 0 { a } else { a.wrapping_rem(b) })
    };
    Ok(same(function, kind, 2, Class::Divide))
}

fn extreme(most: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let relu = modifiers.flag("relu");
    let packed = modifiers.find(|name| match name {
        "u16x2" => Some(false),
        "s16x2" => Some(true),
        _ => None,
    });
    if let Some(signed) = packed {
        return packed_extreme(most, signed, relu, modifiers);
    }
    let kind = modifiers.kind()?;
    let function = match (most, relu) {
        (true, false) => by_type!(modifiers, kind, |a, b| a.max(b)),
        (false, false) => by_type!(modifiers, kind, |a, b| a.min(b)),
        (true, true) if kind == Type::S32 => lanes!(W2, |a: i32, b: i32| a.max(b).max(0)),
        (false, true) if kind == Type::S32 => lanes!(W2, |a: i32, b: i32| a.min(b).max(0)),
        _ => return Err(modifiers.bad_type(kind)),
    };
    if relu {
        modifiers.need_target(90)?;
    }
    Ok(same(function, kind, 2, Class::Integer))
}

fn packed_extreme(
    most: bool,
    signed: bool,
    relu: bool,
    modifiers: &Modifiers<'_>,
) -> Result<Chosen, ParseError> {
    modifiers.need_target(90)?;
    macro_rules! halves {
        ($t:ty, $pick:ident, $least:expr) => {
            lanes!(W2, |a: u32, b: u32| {
                let low = <$t as Lane>::of(a).$pick(<$t as Lane>::of(b)).max($least);
                let high = <$t as Lane>::of(a >> 16)
                    .$pick(<$t as Lane>::of(b >> 16))
                    .max($least);
                Lane::bits(low) & 0xffff | Lane::bits(high) << 16
            })
        };
    }
    let function = match (most, signed, relu) {
        (true, false, false) => halves!(u16, max, 0),
        (false, false, false) => halves!(u16, min, 0),
        (true, true, false) => halves!(i16, max, i16::MIN),
        (false, true, false) => halves!(i16, min, i16::MIN),
        (true, true, true) => halves!(i16, max, 0),
        (false, true, true) => halves!(i16, min, 0),
        (_, false, true) => return Err(modifiers.refuse("`.relu` goes with signed types alone".to_owned())),
    };
    Ok(same(function, Type::B32, 2, Class::Integer))
}

fn sign(negate: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let kind = modifiers.kind()?;
    macro_rules! signed {
        ($method:ident) => {
            match kind {
                Type::S16 => lanes!(W1, |a: i16| a.$method()),
                Type::S32 => lanes!(W1, |a: i32| a.$method()),
                Type::S64 => lanes!(D1, |a: i64| a.$method()),
                other => return Err(modifiers.bad_type(other)),
            }
        };
    }
    let function = if negate {
        signed!(wrapping_neg)
    } else {
        signed!(wrapping_abs)
    };
    Ok(same(function, kind, 1, Class::Integer))
}
