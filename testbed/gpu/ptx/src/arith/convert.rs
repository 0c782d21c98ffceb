//! `cvt` (PTX ISA 9.7.8.20): what kind of conversion it is, and the ones between integers.

use super::chosen::Chosen;
use super::convert_float;
use super::convert_modes::Modes;
use super::lane::lanes;
use super::rounding::rounding;
use super::soft::Round;
use crate::ParseError;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;

/// Chooses the function of a `cvt` with this many operands, the result among them.
pub fn choose(modifiers: &mut Modifiers<'_>, operands: usize) -> Result<Chosen, ParseError> {
    if modifiers.flag("rna") {
        return convert_float::to_tf32(modifiers);
    }
    let whole = modifiers.one_of(&[
        ("rni", Round::Nearest),
        ("rzi", Round::Zero),
        ("rmi", Round::Down),
        ("rpi", Round::Up),
    ]);
    let round = rounding(modifiers);
    if modifiers.flag("satfinite") {
        return convert_float::to_eighths(modifiers);
    }
    let modes = Modes {
        round,
        whole,
        flush: modifiers.flag("ftz"),
        saturate: modifiers.flag("sat"),
        relu: modifiers.flag("relu"),
    };
    if let Some(chosen) = convert_float::from_eighths(modifiers)? {
        return Ok(chosen);
    }
    let (to, from) = (modifiers.kind()?, modifiers.kind()?);
    if operands == 3 {
        return convert_float::pair(to, from, modes, modifiers);
    }
    match (to.is_float(), from.is_float()) {
        (false, false) => integers(to, from, modes, modifiers),
        (true, false) => convert_float::from_integer(to, from, modes, modifiers),
        (false, true) => convert_float::to_integer(to, from, modes, modifiers),
        (true, true) => convert_float::floats(to, from, modes, modifiers),
    }
}

fn integers(to: Type, from: Type, modes: Modes, modifiers: &Modifiers<'_>) -> Result<Chosen, ParseError> {
    if modes.round.is_some() || modes.whole.is_some() || modes.flush || modes.relu {
        return Err(modifiers.refuse("conversions between integers do not round".to_owned()));
    }
    macro_rules! convert {
        ($shape:ident, $f:ty, $t:ty) => {
            if modes.saturate {
                lanes!($shape, |a: $f| {
                    let value = i128::from(a).clamp(i128::from(<$t>::MIN), i128::from(<$t>::MAX));
                    value as $t
                })
            } else {
                lanes!($shape, |a: $f| a as $t)
            }
        };
    }
    macro_rules! from {
        ($narrow:ident, $wide:ident, $f:ty) => {
            match to {
                Type::U8 => convert!($narrow, $f, u8),
                Type::S8 => convert!($narrow, $f, i8),
                Type::U16 => convert!($narrow, $f, u16),
                Type::S16 => convert!($narrow, $f, i16),
                Type::U32 => convert!($narrow, $f, u32),
                Type::S32 => convert!($narrow, $f, i32),
                Type::U64 => convert!($wide, $f, u64),
                Type::S64 => convert!($wide, $f, i64),
                other => return Err(modifiers.bad_type(other)),
            }
        };
    }
    let function = match from {
        Type::U8 => from!(W1, DW, u8),
        Type::S8 => from!(W1, DW, i8),
        Type::U16 => from!(W1, DW, u16),
        Type::S16 => from!(W1, DW, i16),
        Type::U32 => from!(W1, DW, u32),
        Type::S32 => from!(W1, DW, i32),
        Type::U64 => from!(WD, D1, u64),
        Type::S64 => from!(WD, D1, i64),
        other => return Err(modifiers.bad_type(other)),
    };
    Ok(Chosen {
        function,
        types: vec![to, from],
        class: Class::Convert,
    })
}
