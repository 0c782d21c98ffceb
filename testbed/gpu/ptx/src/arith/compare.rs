//! Comparisons (PTX ISA 9.7.5, 9.7.6): from rows to a mask of lanes.

use super::half::flushed as flushed_half;
use super::lane::Lane;
use super::row::{Narrow, Wide};
use super::single;
use crate::ParseError;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;
use half::{bf16, f16};

/// A comparison over rows; bit i of the result is lane i.
#[derive(Clone, Copy, Debug)]
pub enum Compare {
    /// Of 32-bit rows.
    W(fn(&Narrow, &Narrow) -> u32),
    /// Of 64-bit rows.
    D(fn(&Wide, &Wide) -> u32),
}

/// How a comparison's result is joined with a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// `.and`
    And,
    /// `.or`
    Or,
    /// `.xor`
    Xor,
}

impl Combine {
    /// Joins masks of lanes.
    pub fn join(self, a: u32, b: u32) -> u32 {
        match self {
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}

/// The relations of `setp` and `set`. Those that end in U also hold when an operand is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

const RELATIONS: [(&str, Relation); 18] = [
    ("eq", Relation::Eq),
    ("ne", Relation::Ne),
    ("lt", Relation::Lt),
    ("le", Relation::Le),
    ("gt", Relation::Gt),
    ("ge", Relation::Ge),
    ("lo", Relation::Lt),
    ("ls", Relation::Le),
    ("hi", Relation::Gt),
    ("hs", Relation::Ge),
    ("equ", Relation::Equ),
    ("neu", Relation::Neu),
    ("ltu", Relation::Ltu),
    ("leu", Relation::Leu),
    ("gtu", Relation::Gtu),
    ("geu", Relation::Geu),
    ("num", Relation::Num),
    ("nan", Relation::Nan),
];

impl Relation {
    /// Takes the relation of an instruction.
    pub fn take(modifiers: &mut Modifiers<'_>) -> Result<Self, ParseError> {
        modifiers.required(&RELATIONS)
    }

    fn is_for_floats_alone(self) -> bool {
        !matches!(
            self,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge
        )
    }
}

macro_rules! integers {
    ($shape:ident, $t:ty, $relation:expr) => {
        match $relation {
            Relation::Eq => Compare::$shape(|x, y| mask(|i| <$t>::of(x[i]) == <$t>::of(y[i]))),
            Relation::Ne => Compare::$shape(|x, y| mask(|i| <$t>::of(x[i]) != <$t>::of(y[i]))),
            Relation::Lt => Compare::$shape(|x, y| mask(|i| <$t>::of(x[i]) < <$t>::of(y[i]))),
            Relation::Le => Compare::$shape(|x, y| mask(|i| <$t>::of(x[i]) <= <$t>::of(y[i]))),
            Relation::Gt => Compare::$shape(|x, y| mask(|i| <$t>::of(x[i]) > <$t>::of(y[i]))),
            _ => Compare::$shape(|x, y| mask(|i| <$t>::of(x[i]) >= <$t>::of(y[i]))),
        }
    };
}

macro_rules! floats {
    ($shape:ident, $of:expr, $relation:expr) => {{
        match $relation {
            Relation::Eq => Compare::$shape(|x, y| mask(|i| $of(x[i]) == $of(y[i]))),
            Relation::Ne => Compare::$shape(|x, y| mask(|i| $of(x[i]) < $of(y[i]) || $of(x[i]) > $of(y[i]))),
            Relation::Lt => Compare::$shape(|x, y| mask(|i| $of(x[i]) < $of(y[i]))),
            Relation::Le => Compare::$shape(|x, y| mask(|i| $of(x[i]) <= $of(y[i]))),
            Relation::Gt => Compare::$shape(|x, y| mask(|i| $of(x[i]) > $of(y[i]))),
            Relation::Ge => Compare::$shape(|x, y| mask(|i| $of(x[i]) >= $of(y[i]))),
            Relation::Equ => {
                Compare::$shape(|x, y| mask(|i| !($of(x[i]) < $of(y[i]) || $of(x[i]) > $of(y[i]))))
            }
            Relation::Neu => Compare::$shape(|x, y| mask(|i| $of(x[i]) != $of(y[i]))),
            Relation::Ltu => Compare::$shape(|x, y| mask(|i| !($of(x[i]) >= $of(y[i])))),
            Relation::Leu => Compare::$shape(|x, y| mask(|i| !($of(x[i]) > $of(y[i])))),
            Relation::Gtu => Compare::$shape(|x, y| mask(|i| !($of(x[i]) <= $of(y[i])))),
            Relation::Geu => Compare::$shape(|x, y| mask(|i| !($of(x[i]) < $of(y[i])))),
            Relation::Num => Compare::$shape(|x, y| mask(|i| !$of(x[i]).is_nan() && !$of(y[i]).is_nan())),
            Relation::Nan => Compare::$shape(|x, y| mask(|i| $of(x[i]).is_nan() || $of(y[i]).is_nan())),
        }
    }};
}

/// The comparison of a relation, a type and `.ftz`. Packed halves are compared one after the other: see
/// [`high_halves`].
pub fn compare(
    relation: Relation,
    kind: Type,
    flush: bool,
    modifiers: &Modifiers<'_>,
) -> Result<Compare, ParseError> {
    if relation.is_for_floats_alone() && !kind.is_float() {
        return Err(modifiers.refuse("this relation compares floating point alone".to_owned()));
    }
    if matches!(kind, Type::B16 | Type::B32 | Type::B64) && !matches!(relation, Relation::Eq | Relation::Ne) {
        return Err(modifiers.refuse("untyped bits are compared by .eq and .ne alone".to_owned()));
    }
    Ok(match kind {
        Type::B16 | Type::U16 => integers!(W, u16, relation),
        Type::S16 => integers!(W, i16, relation),
        Type::B32 | Type::U32 => integers!(W, u32, relation),
        Type::S32 => integers!(W, i32, relation),
        Type::B64 | Type::U64 => integers!(D, u64, relation),
        Type::S64 => integers!(D, i64, relation),
        Type::F32 if flush => floats!(W, |bits| single::flushed(f32::of(bits)), relation),
        Type::F32 => floats!(W, f32::of, relation),
        Type::F64 => floats!(D, f64::of, relation),
        Type::F16 | Type::F16x2 if flush => floats!(W, |bits| flushed_half(f16::of(bits)), relation),
        Type::F16 | Type::F16x2 => floats!(W, f16::of, relation),
        Type::Bf16 | Type::Bf16x2 => floats!(W, bf16::of, relation),
        other => return Err(modifiers.bad_type(other)),
    })
}

fn mask(holds: impl Fn(usize) -> bool) -> u32 {
    let mut mask = 0;
    for i in 0..32 {
        mask |= u32::from(holds(i)) << i;
    }
    mask
}

/// The high half of each lane, for the second comparison of packed halves.
pub fn high_halves(row: &Narrow) -> Narrow {
    row.map(|bits| bits >> 16)
}
