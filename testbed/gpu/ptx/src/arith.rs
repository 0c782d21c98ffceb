//! Arithmetic over the 32 lanes of a warp: for each instruction, type and mode a function from rows to a row.
//!
//! A register is a row: 32 lanes of 32 bits, or of 64. All lanes are computed, which lets the compiler use vectors; the
//! executor keeps those that take part. So no function here may panic, whatever stands in a lane.

mod bits;
mod chosen;
mod compare;
mod convert;
mod convert_float;
mod convert_modes;
mod float;
mod float_unary;
mod half;
mod integer;
mod lane;
mod rounding;
mod row;
mod single;
pub(crate) mod soft;
mod testp;
mod video;

pub(crate) use chosen::Chosen;
pub(crate) use compare::{Combine, Compare, Relation, compare as compare_function, high_halves};
pub(crate) use lane::Lane;
pub(crate) use row::{Function, Narrow, Wide};
pub(crate) use testp::FloatTest;

use crate::ParseError;
use crate::modifiers::Modifiers;

/// Finds the function of an arithmetic instruction; none when the name is not one of arithmetic.
pub fn choose(
    name: &str,
    modifiers: &mut Modifiers<'_>,
    operands: usize,
) -> Result<Option<Chosen>, ParseError> {
    for family in [
        integer::choose,
        bits::choose,
        float::choose,
        float_unary::choose,
        video::choose,
    ] {
        if let Some(found) = family(name, modifiers)? {
            return Ok(Some(found));
        }
    }
    if name == "cvt" {
        convert::choose(modifiers, operands).map(Some)
    } else {
        Ok(None)
    }
}
