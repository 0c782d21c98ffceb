//! Signs, extremes, roots and transcendental functions (PTX ISA 9.7.3 and 9.7.4).
//!
//! Approximate functions are computed in double precision with `libm`, whose bits are the same on every host, and
//! rounded once: that is the correctly rounded result but for one case in some hundred millions.

use super::chosen::{Chosen, same};
use super::half;
use super::lane::{Lane, lanes};
use super::rounding::{instantiate, rounding};
use super::row::{Function, Narrow};
use super::single::{finish, flush_if, pick, rounded};
use super::soft::{self, Round};
use crate::ParseError;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;

/// Finds the function of an instruction of this family.
pub fn choose(name: &str, modifiers: &mut Modifiers<'_>) -> Result<Option<Chosen>, ParseError> {
    let Some(kind) = modifiers.peek_kind().filter(|kind| kind.is_float()) else {
        return Ok(None);
    };
    let is_half = matches!(kind, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
    let chosen = match name {
        "abs" | "neg" | "min" | "max" | "ex2" | "tanh" if is_half => half::choose(name, modifiers)?,
        "abs" | "neg" => sign(name == "neg", modifiers)?,
        "min" | "max" => extreme(name == "max", modifiers)?,
        "rcp" | "sqrt" => root(name == "sqrt", modifiers)?,
        "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => transcendental(name, modifiers)?,
        "copysign" => match modifiers.kind()? {
            Type::F32 => {
                let function = lanes!(W2, |a: u32, b: u32| a & 0x8000_0000 | b & 0x7fff_ffff);
                same(function, Type::F32, 2, Class::Integer)
            }
            Type::F64 => {
                let function = lanes!(D2, |a: u64, b: u64| a & 1 << 63 | b & !(1 << 63));
                same(function, Type::F64, 2, Class::Integer)
            }
            other => return Err(modifiers.bad_type(other)),
        },
        _ => return Ok(None),
    };
    Ok(Some(chosen))
}

fn sign(negate: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let (flush, kind) = (modifiers.flag("ftz"), modifiers.kind()?);
    let function = match (kind, negate, flush) {
        (Type::F32, false, false) => lanes!(W1, |a: u32| a & 0x7fff_ffff),
        (Type::F32, true, false) => lanes!(W1, |a: u32| a ^ 0x8000_0000),
        (Type::F32, false, true) => lanes!(W1, |a: f32| flush_if::<true>(a).abs()),
        (Type::F32, true, true) => lanes!(W1, |a: f32| -flush_if::<true>(a)),
        (Type::F64, false, false) => lanes!(D1, |a: u64| a & !(1 << 63)),
        (Type::F64, true, false) => lanes!(D1, |a: u64| a ^ 1 << 63),
        (other, ..) => return Err(modifiers.bad_type(other)),
    };
    Ok(same(
        function,
        kind,
        1,
        if kind == Type::F64 {
            Class::Double
        } else {
            Class::Single
        },
    ))
}

fn extreme32<const F: bool, const MOST: bool, const NAN: bool>(to: &mut Narrow, x: &Narrow, y: &Narrow) {
    for i in 0..32 {
        to[i] = pick::<MOST, NAN>(flush_if::<F>(f32::of(x[i])), flush_if::<F>(f32::of(y[i]))).bits();
    }
}

fn extreme(most: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let (flush, nan) = (modifiers.flag("ftz"), modifiers.flag("NaN"));
    let xor_sign = modifiers.flag("xorsign") && modifiers.flag("abs");
    let kind = modifiers.kind()?;
    if nan || xor_sign {
        modifiers.need_target(if xor_sign { 86 } else { 80 })?;
    }
    let function = match kind {
        Type::F32 if xor_sign => match (most, nan) {
            (true, false) => lanes!(W2, |a: f32, b: f32| xor_signed(
                a,
                b,
                pick::<true, false>(a.abs(), b.abs())
            )),
            (false, false) => lanes!(W2, |a: f32, b: f32| xor_signed(
                a,
                b,
                pick::<false, false>(a.abs(), b.abs())
            )),
            (true, true) => lanes!(W2, |a: f32, b: f32| xor_signed(
                a,
                b,
                pick::<true, true>(a.abs(), b.abs())
            )),
            (false, true) => lanes!(W2, |a: f32, b: f32| xor_signed(
                a,
                b,
                pick::<false, true>(a.abs(), b.abs())
            )),
        },
        Type::F32 => Function::W2(match (flush, most, nan) {
            (false, false, false) => extreme32::<false, false, false>,
            (false, false, true) => extreme32::<false, false, true>,
            (false, true, false) => extreme32::<false, true, false>,
            (false, true, true) => extreme32::<false, true, true>,
            (true, false, false) => extreme32::<true, false, false>,
            (true, false, true) => extreme32::<true, false, true>,
            (true, true, false) => extreme32::<true, true, false>,
            (true, true, true) => extreme32::<true, true, true>,
        }),
        Type::F64 if flush || nan || xor_sign => return Err(modifiers.bad_type(kind)),
        Type::F64 if most => lanes!(D2, |a: f64, b: f64| if a.is_nan()
            || (b > a)
            || (a == b && a.is_sign_negative())
        {
            b
        } else {
            a
        }),
        Type::F64 => lanes!(
            D2,
            |a: f64, b: f64| if a.is_nan() || (b < a) || (a == b && b.is_sign_negative()) {
                b
            } else {
                a
            }
        ),
        other => return Err(modifiers.bad_type(other)),
    };
    Ok(same(
        function,
        kind,
        2,
        if kind == Type::F64 {
            Class::Double
        } else {
            Class::Integer
        },
    ))
}

fn xor_signed(a: f32, b: f32, magnitude: f32) -> f32 {
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    if magnitude.is_nan() {
        magnitude
    } else {
        f32::from_bits(magnitude.to_bits() | sign)
    }
}

fn rcp32<const R: u8, const F: bool, const S: bool>(to: &mut Narrow, x: &Narrow) {
    for i in 0..32 {
        let a = flush_if::<F>(f32::of(x[i]));
        let value = if R == 0 {
            1.0 / a
        } else {
            rounded(soft::divide(1.0, a.into(), soft::F32, Round::of(R)))
        };
        to[i] = finish::<F, S>(value).bits();
    }
}

fn sqrt32<const R: u8, const F: bool, const S: bool>(to: &mut Narrow, x: &Narrow) {
    for i in 0..32 {
        let a = flush_if::<F>(f32::of(x[i]));
        let value = if R == 0 {
            a.sqrt()
        } else {
            rounded(soft::square_root(a.into(), soft::F32, Round::of(R)))
        };
        to[i] = finish::<F, S>(value).bits();
    }
}

fn root(square: bool, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    let (approximate, round) = (modifiers.flag("approx"), rounding(modifiers));
    let (flush, kind) = (modifiers.flag("ftz"), modifiers.kind()?);
    let round = match round {
        Some(round) if !approximate => round,
        None if approximate => Round::Nearest,
        _ => return Err(modifiers.refuse("a root needs either .approx or a rounding mode".to_owned())),
    };
    macro_rules! double {
        ($round:expr) => {
            if square {
                lanes!(D1, |a: f64| f64::from_bits(soft::square_root(
                    a,
                    soft::F64,
                    $round
                )))
            } else {
                lanes!(D1, |a: f64| f64::from_bits(soft::divide(
                    1.0,
                    a,
                    soft::F64,
                    $round
                )))
            }
        };
    }
    let function = match (kind, square) {
        (Type::F32, false) => Function::W1(instantiate!(rcp32, round, flush, false)),
        (Type::F32, true) => Function::W1(instantiate!(sqrt32, round, flush, false)),
        (Type::F64, false) if approximate && flush => lanes!(D1, |a: f64| cut(1.0 / cut(a))),
        (Type::F64, _) if approximate || flush => return Err(modifiers.bad_type(kind)),
        (Type::F64, false) if round == Round::Nearest => lanes!(D1, |a: f64| 1.0 / a),
        (Type::F64, true) if round == Round::Nearest => lanes!(D1, |a: f64| a.sqrt()),
        (Type::F64, _) => match round {
            Round::Zero => double!(Round::Zero),
            Round::Down => double!(Round::Down),
            _ => double!(Round::Up),
        },
        (other, _) => return Err(modifiers.bad_type(other)),
    };
    Ok(same(
        function,
        kind,
        1,
        if approximate {
            Class::Special
        } else {
            Class::Divide
        },
    ))
}

/// `.approx.ftz.f64` keeps the upper 32 bits alone, of operand and result, and flushes subnormals.
fn cut(value: f64) -> f64 {
    let bits = value.to_bits() & !0xffff_ffff;
    f64::from_bits(if bits << 1 >> 53 == 0 {
        bits & 1 << 63
    } else {
        bits
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to single precision is the purpose"
)]
fn narrowed(value: f64) -> f32 {
    value as f32
}

fn transcendental(name: &str, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    if !modifiers.flag("approx") {
        return Err(modifiers.refuse(format!("`{name}` needs .approx")));
    }
    let (flush, kind) = (modifiers.flag("ftz"), modifiers.kind()?);
    macro_rules! single {
        ($f:expr) => {
            if flush {
                lanes!(W1, |a: f32| flush_if::<true>(narrowed($f(f64::from(
                    flush_if::<true>(a)
                )))))
            } else {
                lanes!(W1, |a: f32| narrowed($f(f64::from(a))))
            }
        };
    }
    let function = match (name, kind) {
        ("rsqrt", Type::F32) => single!(|a: f64| 1.0 / a.sqrt()),
        ("rsqrt", Type::F64) if flush => lanes!(D1, |a: f64| cut(1.0 / cut(a).sqrt())),
        ("rsqrt", Type::F64) => lanes!(D1, |a: f64| 1.0 / a.sqrt()),
        ("sin", Type::F32) => single!(libm::sin),
        ("cos", Type::F32) => single!(libm::cos),
        ("lg2", Type::F32) => single!(libm::log2),
        ("ex2", Type::F32) => single!(libm::exp2),
        ("tanh", Type::F32) if !flush => {
            modifiers.need_target(75)?;
            single!(libm::tanh)
        }
        (_, other) => return Err(modifiers.bad_type(other)),
    };
    Ok(same(function, kind, 1, Class::Special))
}
