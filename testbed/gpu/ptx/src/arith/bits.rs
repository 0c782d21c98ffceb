//! Logic, shifts, bit fields and bytes (PTX ISA 9.7.7 and parts of 9.7.1).

use super::chosen::{Chosen, same};
use super::lane::lanes;
use super::row::Function;
use crate::ParseError;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;

/// Finds the function of an instruction of this family. Logic on predicates is the executor's: predicates are no rows.
pub fn choose(name: &str, modifiers: &mut Modifiers<'_>) -> Result<Option<Chosen>, ParseError> {
    let chosen = match name {
        "and" | "or" | "xor" | "not" | "cnot" => logic(name, modifiers)?,
        "shl" | "shr" => shift(name == "shl", modifiers)?,
        "shf" => funnel(modifiers)?,
        "lop3" => return Ok(None),
        "popc" | "clz" | "brev" | "bfind" => count(name, modifiers)?,
        "bfe" => extract(modifiers)?,
        "bfi" => insert(modifiers)?,
        "bmsk" => mask(modifiers)?,
        "szext" => sign_or_zero_extend(modifiers)?,
        "prmt" => permute(modifiers)?,
        "fns" => {
            modifiers.flag("b32");
            let function = lanes!(W3, |mask: u32, base: u32, n: i32| nth_set(mask, base, n));
            Chosen {
                function,
                types: vec![Type::B32, Type::B32, Type::B32, Type::S32],
                class: Class::Bits,
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(chosen))
}

fn logic(name: &str, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let kind = modifiers.kind()?;
    let wide = match kind {
        Type::B16 | Type::B32 => false,
        Type::B64 => true,
        other => return Err(modifiers.bad_type(other)),
    };
    let (function, operands) = match (name, wide) {
        ("and", false) => (lanes!(W2, |a: u32, b: u32| a & b), 2),
        ("or", false) => (lanes!(W2, |a: u32, b: u32| a | b), 2),
        ("xor", false) => (lanes!(W2, |a: u32, b: u32| a ^ b), 2),
        ("and", true) => (lanes!(D2, |a: u64, b: u64| a & b), 2),
        ("or", true) => (lanes!(D2, |a: u64, b: u64| a | b), 2),
        ("xor", true) => (lanes!(D2, |a: u64, b: u64| a ^ b), 2),
        ("not", false) => (lanes!(W1, |a: u32| !a), 1),
        ("not", true) => (lanes!(D1, |a: u64| !a), 1),
        (_, true) => (lanes!(D1, |a: u64| u64::from(a == 0)), 1),
        (_, false) if kind == Type::B16 => (lanes!(W1, |a: u16| u32::from(a == 0)), 1),
        (_, false) => (lanes!(W1, |a: u32| u32::from(a == 0)), 1),
    };
    Ok(same(function, kind, operands, Class::Integer))
}

/// Shifts by more than the width give what a shift by the width gives.
fn shift(left: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let kind = modifiers.kind()?;
    let function = match (left, kind) {
        (true, Type::B16) => lanes!(W2, |a: u32, n: u32| if n > 15 { 0 } else { a << n }),
        (true, Type::B32) => lanes!(W2, |a: u32, n: u32| if n > 31 { 0 } else { a << (n & 31) }),
        (true, Type::B64) => lanes!(DDW, |a: u64, n: u32| if n > 63 { 0 } else { a << (n & 63) }),
        (false, Type::B16 | Type::U16) => lanes!(W2, |a: u16, n: u32| if n > 15 { 0 } else { a >> (n & 15) }),
        (false, Type::B32 | Type::U32) => lanes!(W2, |a: u32, n: u32| if n > 31 { 0 } else { a >> (n & 31) }),
        (false, Type::B64 | Type::U64) => {
            lanes!(DDW, |a: u64, n: u32| if n > 63 { 0 } else { a >> (n & 63) })
        }
        (false, Type::S16) => lanes!(W2, |a: i16, n: u32| a >> n.min(15)),
        (false, Type::S32) => lanes!(W2, |a: i32, n: u32| a >> n.min(31)),
        (false, Type::S64) => lanes!(DDW, |a: i64, n: u32| a >> n.min(63)),
        (_, other) => return Err(modifiers.bad_type(other)),
    };
    Ok(Chosen {
        function,
        types: vec![kind, kind, Type::U32],
        class: Class::Shift,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "half of the shifted pair is what is asked for"
)]
fn funnel(modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let left = modifiers.required(&[("l", true), ("r", false)])?;
    let clamp = modifiers.required(&[("clamp", true), ("wrap", false)])?;
    if !modifiers.flag("b32") {
        return Err(modifiers.refuse("`shf` exists for type .b32 alone".to_owned()));
    }
    macro_rules! pair {
        ($a:ident, $b:ident) => {
            u64::from($b) << 32 | u64::from($a)
        };
    }
    let function = match (left, clamp) {
        (true, true) => lanes!(W3, |a: u32, b: u32, n: u32| ((pair!(a, b)) << n.min(32) >> 32)
            as u32),
        (true, false) => lanes!(W3, |a: u32, b: u32, n: u32| ((pair!(a, b)) << (n & 31) >> 32)
            as u32),
        (false, true) => lanes!(W3, |a: u32, b: u32, n: u32| ((pair!(a, b)) >> n.min(32)) as u32),
        (false, false) => lanes!(W3, |a: u32, b: u32, n: u32| ((pair!(a, b)) >> (n & 31)) as u32),
    };
    Ok(same(function, Type::B32, 3, Class::Shift))
}

fn count(name: &str, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let amount = name == "bfind" && modifiers.flag("shiftamt");
    let kind = modifiers.kind()?;
    macro_rules! find {
        ($shape:ident, $t:ty, $flip:expr) => {{
            let flip: fn($t) -> _ = $flip;
            let _ = flip;
            if amount {
                lanes!($shape, |a: $t| highest(u64::from(($flip)(a)), <$t>::BITS, true))
            } else {
                lanes!($shape, |a: $t| highest(u64::from(($flip)(a)), <$t>::BITS, false))
            }
        }};
    }
    let (function, result) = match (name, kind) {
        ("popc", Type::B32) => (lanes!(W1, |a: u32| a.count_ones()), Type::U32),
        ("popc", Type::B64) => (lanes!(WD, |a: u64| a.count_ones()), Type::U32),
        ("clz", Type::B32) => (lanes!(W1, |a: u32| a.leading_zeros()), Type::U32),
        ("clz", Type::B64) => (lanes!(WD, |a: u64| a.leading_zeros()), Type::U32),
        ("brev", Type::B32) => (lanes!(W1, |a: u32| a.reverse_bits()), Type::B32),
        ("brev", Type::B64) => (lanes!(D1, |a: u64| a.reverse_bits()), Type::B64),
        ("bfind", Type::U32) => (find!(W1, u32, |a: u32| a), Type::U32),
        ("bfind", Type::S32) => (
            find!(W1, i32, |a: i32| (a ^ (a >> 31)).cast_unsigned()),
            Type::U32,
        ),
        ("bfind", Type::U64) => (find!(WD, u64, |a: u64| a), Type::U32),
        ("bfind", Type::S64) => (
            find!(WD, i64, |a: i64| (a ^ (a >> 63)).cast_unsigned()),
            Type::U32,
        ),
        (_, other) => return Err(modifiers.bad_type(other)),
    };
    Ok(Chosen {
        function,
        types: vec![result, kind],
        class: Class::Bits,
    })
}

/// The place of the highest set bit, or how far it is from the top; all bits set when there is none.
fn highest(value: u64, width: u32, amount: bool) -> u32 {
    match value.checked_ilog2() {
        None => u32::MAX,
        Some(place) if amount => width - 1 - place,
        Some(place) => place,
    }
}

/// The field begins at bit `c` and has `d` bits (of each the low 8); beyond the top, a signed field is filled with the
/// sign.
fn extract(modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let kind = modifiers.kind()?;
    let function = match kind {
        Type::U32 => lanes!(W3, |a: u32, at: u32, len: u32| {
            let (at, len) = (at & 255, len & 255);
            u64::from(a).checked_shr(at).unwrap_or(0)
                & (1_u64.checked_shl(len).unwrap_or(0).wrapping_sub(1))
                & 0xffff_ffff
        } as u32),
        Type::S32 => lanes!(
            W3,
            |a: i32, at: u32, len: u32| signed_field(i64::from(a), at, len, 32) as i32
        ),
        Type::U64 => lanes!(DDWW, |a: u64, at: u32, len: u32| {
            let (at, len) = (at & 255, len & 255);
            a.checked_shr(at).unwrap_or(0) & (1_u64.checked_shl(len).unwrap_or(0).wrapping_sub(1))
        }),
        Type::S64 => lanes!(DDWW, |a: i64, at: u32, len: u32| signed_field(a, at, len, 64)),
        other => return Err(modifiers.bad_type(other)),
    };
    Ok(Chosen {
        function,
        types: vec![kind, kind, Type::U32, Type::U32],
        class: Class::Shift,
    })
}

/// A field of `len` bits from bit `at`; its sign is its highest bit, or the value's where the field goes beyond it.
fn signed_field(a: i64, at: u32, len: u32, width: u32) -> i64 {
    let (at, len) = (at & 255, len & 255);
    if len == 0 {
        return 0;
    }
    let shifted = a >> at.min(width - 1).min(63);
    if at + len >= width {
        return shifted;
    }
    let spare = 64 - len;
    shifted << spare >> spare
}

#[expect(clippy::cast_possible_truncation, reason = "a field within 32 bits")]
fn insert(modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let kind = modifiers.kind()?;
    let function = match kind {
        Type::B32 => lanes!(W4, |a: u32, b: u32, at: u32, len: u32| {
            let mask = field(at, len) as u32;
            b & !mask | ((u64::from(a)).checked_shl(at & 255).unwrap_or(0) as u32) & mask
        }),
        Type::B64 => lanes!(DDDWW, |a: u64, b: u64, at: u32, len: u32| {
            let mask = field(at, len);
            b & !mask | a.checked_shl(at & 255).unwrap_or(0) & mask
        }),
        other => return Err(modifiers.bad_type(other)),
    };
    Ok(Chosen {
        function,
        types: vec![kind, kind, kind, Type::U32, Type::U32],
        class: Class::Shift,
    })
}

fn field(at: u32, len: u32) -> u64 {
    1_u64
        .checked_shl(len & 255)
        .unwrap_or(0)
        .wrapping_sub(1)
        .checked_shl(at & 255)
        .unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, reason = "a mask within 32 bits")]
fn mask(modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let clamp = modifiers.required(&[("clamp", true), ("wrap", false)])?;
    if !modifiers.flag("b32") {
        return Err(modifiers.refuse("`bmsk` exists for type .b32 alone".to_owned()));
    }
    modifiers.need_target(70)?;
    let function = if clamp {
        lanes!(W2, |at: u32, len: u32| {
            let ones = 1_u64.checked_shl(len.min(32)).unwrap_or(0).wrapping_sub(1);
            ones.checked_shl(at).unwrap_or(0) as u32
        })
    } else {
        lanes!(W2, |at: u32, len: u32| (((1_u64 << (len & 31)) - 1) << (at & 31))
            as u32)
    };
    Ok(same(function, Type::B32, 2, Class::Shift))
}

fn sign_or_zero_extend(modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let clamp = modifiers.required(&[("clamp", true), ("wrap", false)])?;
    let kind = modifiers.kind()?;
    modifiers.need_target(70)?;
    let function = match (kind, clamp) {
        (Type::S32, true) => lanes!(W2, |a: i32, n: u32| extend(a, n.min(32))),
        (Type::S32, false) => lanes!(W2, |a: i32, n: u32| extend(a, n & 31)),
        (Type::U32, true) => lanes!(W2, |a: u32, n: u32| if n >= 32 {
            a
        } else {
            a & ((1 << (n & 31)) - 1)
        }),
        (Type::U32, false) => lanes!(W2, |a: u32, n: u32| a & ((1 << (n & 31)) - 1)),
        (other, _) => return Err(modifiers.bad_type(other)),
    };
    Ok(Chosen {
        function,
        types: vec![kind, kind, Type::U32],
        class: Class::Shift,
    })
}

fn extend(a: i32, bits: u32) -> i32 {
    if bits == 0 {
        0
    } else {
        a << (32 - bits) >> (32 - bits)
    }
}

/// `prmt.b32{.mode}`: bytes of a pair picked by a selector.
fn permute(modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    if !modifiers.flag("b32") {
        return Err(modifiers.refuse("`prmt` exists for type .b32 alone".to_owned()));
    }
    macro_rules! mode {
        ($pick:expr) => {
            lanes!(W3, |a: u32, b: u32, c: u32| bytes(
                u64::from(b) << 32 | u64::from(a),
                c,
                $pick
            ))
        };
    }
    let modes: [(&str, Function); 6] = [
        ("f4e", mode!(|s, i| (s & 3) + i)),
        ("b4e", mode!(|s, i| (s & 3).wrapping_sub(i) & 7)),
        ("rc8", mode!(|s, _| s & 3)),
        ("ecl", mode!(|s, i| (s & 3).max(i))),
        ("ecr", mode!(|s, i| (s & 3).min(i))),
        ("rc16", mode!(|s, i| (s & 1) * 2 + (i & 1))),
    ];
    let generic = lanes!(W3, |a: u32, b: u32, c: u32| {
        let pair = u64::from(b) << 32 | u64::from(a);
        let mut picked = 0;
        for i in 0..4 {
            let nibble = c >> (4 * i);
            let byte = pair >> (8 * (nibble & 7));
            let byte = if nibble & 8 != 0 {
                ((byte as i8) >> 7) as u8
            } else {
                byte as u8
            };
            picked |= u32::from(byte) << (8 * i);
        }
        picked
    });
    let function = modifiers.one_of(&modes).unwrap_or(generic);
    Ok(same(function, Type::B32, 3, Class::Shift))
}

fn bytes(pair: u64, selector: u32, pick: impl Fn(u32, u32) -> u32) -> u32 {
    (0..4).fold(0, |picked, i| {
        let byte = (pair >> (8 * (pick(selector, i) & 7))) as u8;
        picked | u32::from(byte) << (8 * i)
    })
}

/// `fns`: the place of the n-th set bit, counted from a base upwards or downwards.
fn nth_set(mask: u32, base: u32, n: i32) -> u32 {
    let set = |&place: &u32| mask.checked_shr(place).is_some_and(|rest| rest & 1 == 1);
    let wanted = n.unsigned_abs() as usize;
    let found = match n {
        0 => Some(base).filter(set),
        1.. => (base..32).filter(set).nth(wanted - 1),
        _ => (0..=base.min(31)).rev().filter(set).nth(wanted - 1),
    };
    found.unwrap_or(u32::MAX)
}
