//! Conversions to and from floating point (PTX ISA 9.7.8.20).

use super::chosen::Chosen;
use super::convert_modes::Modes;
use super::lane::lanes;
use super::row::Function;
use super::single::{finish, flushed};
use super::soft::{self, CANONICAL_NAN, Format, Round};
use crate::ParseError;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;
use half::{bf16, f16};

fn chosen(function: Function, to: Type, from: Type) -> Chosen {
    Chosen {
        function,
        types: vec![to, from],
        class: Class::Convert,
    }
}

/// A mode as a constant of a loop over lanes: closures that become function pointers cannot hold it.
macro_rules! by_round {
    ($round:expr, $mode:ident => $e:expr) => {
        match $round {
            Round::Nearest => {
                const $mode: Round = Round::Nearest;
                $e
            }
            Round::Zero => {
                const $mode: Round = Round::Zero;
                $e
            }
            Round::Down => {
                const $mode: Round = Round::Down;
                $e
            }
            Round::Up => {
                const $mode: Round = Round::Up;
                $e
            }
        }
    };
}

/// From integers: rounded, and clamped to 1 with `.sat`.
pub fn from_integer(
    to: Type,
    from: Type,
    modes: Modes,
    modifiers: &Modifiers<'_>,
) -> Result<Chosen, ParseError> {
    let Some(round) = modes.round else {
        return Err(
            modifiers.refuse("a conversion from integers to floating point needs a rounding mode".to_owned())
        );
    };
    if modes.whole.is_some() || modes.relu || modes.flush {
        return Err(modifiers.refuse("a conversion from integers has no such mode".to_owned()));
    }
    if to == Type::F32 && round == Round::Nearest && !modes.saturate {
        // The ones that kernels use in inner loops, with the host's own instructions.
        match from {
            Type::S32 => return Ok(chosen(lanes!(W1, |a: i32| a as f32), to, from)),
            Type::U32 => return Ok(chosen(lanes!(W1, |a: u32| a as f32), to, from)),
            _ => {}
        }
    }
    macro_rules! to {
        ($narrow:ident, $wide:ident, $f:ty) => {
            match (to, modes.saturate) {
                (Type::F32, false) => by_round!(round, R => lanes!($narrow, |a: $f| integer(i128::from(a), soft::F32, R) as u32)),
                (Type::F16, false) => by_round!(round, R => lanes!($narrow, |a: $f| integer(i128::from(a), soft::F16, R) as u32)),
                (Type::Bf16, false) => by_round!(round, R => lanes!($narrow, |a: $f| integer(i128::from(a), soft::BF16, R) as u32)),
                (Type::F64, false) => by_round!(round, R => lanes!($wide, |a: $f| integer(i128::from(a), soft::F64, R))),
                (Type::F32, true) => lanes!($narrow, |a: $f| if i128::from(a) > 0 { 1.0_f32 } else { 0.0 }),
                (Type::F16, true) => lanes!($narrow, |a: $f| if i128::from(a) > 0 { f16::ONE } else { f16::ZERO }),
                (Type::F64, true) => lanes!($wide, |a: $f| if i128::from(a) > 0 { 1.0_f64 } else { 0.0 }),
                _ => return Err(modifiers.bad_type(to)),
            }
        };
    }
    let function = match from {
        Type::U8 => to!(W1, DW, u8),
        Type::S8 => to!(W1, DW, i8),
        Type::U16 => to!(W1, DW, u16),
        Type::S16 => to!(W1, DW, i16),
        Type::U32 => to!(W1, DW, u32),
        Type::S32 => to!(W1, DW, i32),
        Type::U64 => to!(WD, D1, u64),
        Type::S64 => to!(WD, D1, i64),
        other => return Err(modifiers.bad_type(other)),
    };
    Ok(chosen(function, to, from))
}

fn integer(value: i128, format: Format, round: Round) -> u64 {
    soft::convert_integer(
        value < 0,
        u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX),
        format,
        round,
    )
}

/// Rounds to an integral value.
fn whole(value: f64, round: Round) -> f64 {
    match round {
        Round::Nearest => value.round_ties_even(),
        Round::Zero => value.trunc(),
        Round::Down => value.floor(),
        Round::Up => value.ceil(),
    }
}

/// To integers: rounded, and always clamped to the type's range. NaN gives zero, or the highest bit alone where one
/// side has 64 bits.
pub fn to_integer(
    to: Type,
    from: Type,
    modes: Modes,
    modifiers: &Modifiers<'_>,
) -> Result<Chosen, ParseError> {
    let Some(round) = modes.whole else {
        return Err(modifiers.refuse(
            "a conversion from floating point to integers needs .rni, .rzi, .rmi or .rpi".to_owned(),
        ));
    };
    if modes.relu || modes.round.is_some() {
        return Err(modifiers.refuse("a conversion to integers has no such mode".to_owned()));
    }
    macro_rules! clamp {
        ($shape:ident, $bits:ty, $of:expr, $t:ty, $nan:expr) => {
            by_round!(round, R => lanes!($shape, |a: $bits| {
                let value: f64 = $of(a);
                if value.is_nan() { $nan } else { whole(value, R) as $t }
            }))
        };
    }
    macro_rules! to {
        ($narrow:ident, $wide:ident, $bits:ty, $of:expr, $double:literal) => {
            match to {
                Type::U8 => clamp!($narrow, $bits, $of, u8, if $double { 1 << 7 } else { 0 }),
                Type::S8 => clamp!($narrow, $bits, $of, i8, if $double { i8::MIN } else { 0 }),
                Type::U16 => clamp!($narrow, $bits, $of, u16, if $double { 1 << 15 } else { 0 }),
                Type::S16 => clamp!($narrow, $bits, $of, i16, if $double { i16::MIN } else { 0 }),
                Type::U32 => clamp!($narrow, $bits, $of, u32, if $double { 1 << 31 } else { 0 }),
                Type::S32 => clamp!($narrow, $bits, $of, i32, if $double { i32::MIN } else { 0 }),
                Type::U64 => clamp!($wide, $bits, $of, u64, 1 << 63),
                Type::S64 => clamp!($wide, $bits, $of, i64, i64::MIN),
                other => return Err(modifiers.bad_type(other)),
            }
        };
    }
    let function = match from {
        Type::F32 if modes.flush => to!(W1, DW, f32, |a: f32| f64::from(flushed(a)), false),
        Type::F32 => to!(W1, DW, f32, |a: f32| f64::from(a), false),
        Type::F16 => to!(W1, DW, f16, |a: f16| a.to_f64(), false),
        Type::Bf16 => to!(W1, DW, bf16, |a: bf16| a.to_f64(), false),
        Type::F64 => to!(WD, D1, f64, |a: f64| a, true),
        other => return Err(modifiers.bad_type(other)),
    };
    Ok(chosen(function, to, from))
}

/// Between formats of floating point, or to integral values within one.
pub fn floats(to: Type, from: Type, modes: Modes, modifiers: &Modifiers<'_>) -> Result<Chosen, ParseError> {
    if modes.relu && !matches!(to, Type::F16 | Type::Bf16) {
        return Err(modifiers.refuse("`.relu` goes with conversions to halves alone".to_owned()));
    }
    let narrows = to.size() < from.size()
        || (to == Type::Bf16 && from == Type::F16)
        || (to == Type::F16 && from == Type::Bf16);
    if narrows && modes.round.is_none() {
        return Err(modifiers.refuse("a conversion to a narrower format needs a rounding mode".to_owned()));
    }
    if !narrows && modes.round.is_some() {
        return Err(modifiers.refuse("a conversion to a wider format does not round".to_owned()));
    }
    if modes.whole.is_some() && to != from {
        return Err(modifiers.refuse("rounding to integral values stays within one type".to_owned()));
    }
    if matches!((to, from), (Type::Bf16, _) | (_, Type::Bf16)) {
        modifiers.need_target(if narrows { 80 } else { 90 })?;
    }
    let round = modes.round.unwrap_or(Round::Nearest);
    let function = match (to, from) {
        (Type::F32, Type::F16) if !modes.saturate => lanes!(W1, |a: f16| a.to_f32()),
        (Type::F32, Type::Bf16) if !modes.saturate => lanes!(W1, |a: bf16| a.to_f32()),
        (Type::F64, Type::F32) if !modes.saturate && !modes.flush => lanes!(DW, |a: f32| f64::from(a)),
        (Type::F32, Type::F32) if modes.whole.is_none() => match (modes.flush, modes.saturate) {
            (false, false) => lanes!(W1, |a: f32| a),
            (true, false) => lanes!(W1, |a: f32| finish::<true, false>(a)),
            (false, true) => lanes!(W1, |a: f32| finish::<false, true>(a)),
            (true, true) => lanes!(W1, |a: f32| finish::<true, true>(a)),
        },
        _ => general(to, from, modes, round, modifiers)?,
    };
    Ok(chosen(function, to, from))
}

fn general(
    to: Type,
    from: Type,
    modes: Modes,
    round: Round,
    modifiers: &Modifiers<'_>,
) -> Result<Function, ParseError> {
    let clamp = (modes.saturate, modes.relu, modes.flush);
    macro_rules! rounded {
        ($shape:ident, $bits:ty, $of:expr, $format:expr, $out:ty) => {
            match (modes.whole, clamp) {
                (Some(mode), (false, false, false)) => by_round!(mode, R => lanes!($shape, |a: $bits| soft::convert(whole($of(a), R), $format, R) as $out)),
                (Some(mode), (true, false, false)) => by_round!(mode, R => lanes!($shape, |a: $bits| soft::convert(unit(whole($of(a), R)), $format, R) as $out)),
                (Some(mode), (false, false, true)) => by_round!(mode, R => lanes!($shape, |a: $bits| soft::convert(whole(cut($of(a)), R), $format, R) as $out)),
                (Some(mode), (true, false, true)) => by_round!(mode, R => lanes!($shape, |a: $bits| soft::convert(unit(whole(cut($of(a)), R)), $format, R) as $out)),
                (None, (false, false, false)) => by_round!(round, R => lanes!($shape, |a: $bits| soft::convert($of(a), $format, R) as $out)),
                (None, (true, false, false)) => by_round!(round, R => lanes!($shape, |a: $bits| soft::convert(unit($of(a)), $format, R) as $out)),
                (None, (false, true, false)) => by_round!(round, R => lanes!($shape, |a: $bits| soft::convert(positive($of(a)), $format, R) as $out)),
                (None, (false, false, true)) => by_round!(round, R => lanes!($shape, |a: $bits| flush_bits(soft::convert(cut($of(a)), $format, R), $format) as $out)),
                (None, (true, false, true)) => by_round!(round, R => lanes!($shape, |a: $bits| flush_bits(soft::convert(unit(cut($of(a))), $format, R), $format) as $out)),
                _ => return Err(modifiers.refuse("no conversion has these modes together".to_owned())),
            }
        };
    }
    macro_rules! to {
        ($narrow:ident, $wide:ident, $bits:ty, $of:expr) => {
            match to {
                Type::F32 => rounded!($narrow, $bits, $of, soft::F32, u32),
                Type::F16 => rounded!($narrow, $bits, $of, soft::F16, u32),
                Type::Bf16 => rounded!($narrow, $bits, $of, soft::BF16, u32),
                Type::F64 => rounded!($wide, $bits, $of, soft::F64, u64),
                other => return Err(modifiers.bad_type(other)),
            }
        };
    }
    Ok(match from {
        Type::F32 => to!(W1, DW, f32, |a: f32| f64::from(a)),
        Type::F16 => to!(W1, DW, f16, |a: f16| a.to_f64()),
        Type::Bf16 => to!(W1, DW, bf16, |a: bf16| a.to_f64()),
        Type::F64 => to!(WD, D1, f64, |a: f64| a),
        other => return Err(modifiers.bad_type(other)),
    })
}

/// `.sat`: between 0 and 1, NaN as 0.
fn unit(value: f64) -> f64 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}

/// `.relu`: negative numbers become zero; NaN stays.
fn positive(value: f64) -> f64 {
    if value < 0.0 { 0.0 } else { value }
}

/// `.ftz` on an operand of single precision.
fn cut(value: f64) -> f64 {
    if value.abs() < f64::from(f32::MIN_POSITIVE) {
        0.0_f64.copysign(value)
    } else {
        value
    }
}

/// `.ftz` on a result of single precision.
fn flush_bits(bits: u64, format: Format) -> u64 {
    if format.precision == 24 && bits & 0x7f80_0000 == 0 {
        bits & 0x8000_0000
    } else {
        bits
    }
}

/// `cvt.rn.f16x2.f32 d, a, b`: `a` to the high half, `b` to the low one.
pub fn pair(to: Type, from: Type, modes: Modes, modifiers: &Modifiers<'_>) -> Result<Chosen, ParseError> {
    modifiers.need_target(80)?;
    let Some(round @ (Round::Nearest | Round::Zero)) = modes.round else {
        return Err(modifiers.refuse("a conversion to packed halves needs .rn or .rz".to_owned()));
    };
    if from != Type::F32 || modes.saturate || modes.flush || modes.whole.is_some() {
        return Err(modifiers.refuse("packed halves are converted from .f32, with .relu at most".to_owned()));
    }
    macro_rules! pack {
        ($format:expr, $clamp:expr) => {
            by_round!(round, R => lanes!(W2, |a: f32, b: f32| {
                let high = soft::convert($clamp(f64::from(a)), $format, R) as u32;
                high << 16 | soft::convert($clamp(f64::from(b)), $format, R) as u32
            }))
        };
    }
    let function = match (to, modes.relu) {
        (Type::F16x2, false) => pack!(soft::F16, |value: f64| value),
        (Type::F16x2, true) => pack!(soft::F16, positive),
        (Type::Bf16x2, false) => pack!(soft::BF16, |value: f64| value),
        (Type::Bf16x2, true) => pack!(soft::BF16, positive),
        (other, _) => return Err(modifiers.bad_type(other)),
    };
    Ok(Chosen {
        function,
        types: vec![to, from, from],
        class: Class::Convert,
    })
}

/// `cvt.rna.tf32.f32`: to 11 bits of significand, ties away from zero.
pub fn to_tf32(modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    modifiers.need_target(80)?;
    if (modifiers.kind()?, modifiers.kind()?) != (Type::Tf32, Type::F32) {
        return Err(modifiers.refuse("`.rna` goes with cvt.rna.tf32.f32 alone".to_owned()));
    }
    let function = lanes!(W1, |a: u32| {
        let is_finite = a & 0x7f80_0000 != 0x7f80_0000;
        let rounded = a.wrapping_add(0x1000) & 0xffff_e000;
        if is_finite {
            rounded
        } else if a & 0x7f_ffff != 0 {
            CANONICAL_NAN
        } else {
            a
        }
    });
    Ok(Chosen {
        function,
        types: vec![Type::B32, Type::F32],
        class: Class::Convert,
    })
}

/// `cvt.rn.satfinite.e4m3x2.f32 d, a, b` needs formats of 8 bits, which `sm_90` alone has in PTX 8.0.
pub fn to_eighths(modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    Err(ParseError::new(
        crate::ParseErrorKind::NotImplemented,
        modifiers.line(),
        "conversions to formats of 8 bits (.e4m3x2, .e5m2x2) are not implemented",
    ))
}

/// `cvt.rn.f16x2.e4m3x2`: see [`to_eighths`].
pub fn from_eighths(modifiers: &mut Modifiers<'_>) -> Result<Option<Chosen>, ParseError> {
    if modifiers.one_of(&[("e4m3x2", ()), ("e5m2x2", ())]).is_some() {
        return to_eighths(modifiers).map(Some);
    }
    Ok(None)
}
