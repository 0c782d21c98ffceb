//! Constants, and the pool of rows that hold them.

use super::function::Decoder;
use crate::arith::soft::{self, Round};
use crate::parse::tree::{Operand, Type};
use crate::program::{NONE, POOL, Row};
use crate::{ParseError, ParseErrorKind};

impl Decoder<'_, '_> {
    /// The bits of a constant as this type.
    pub fn constant(&self, operand: &Operand<'_>, kind: Type) -> Result<u64, ParseError> {
        let bits = match (operand, kind) {
            (Operand::Int(_), Type::F32 | Type::F64) => None,
            (Operand::Int(value), _) => Some(*value),
            (Operand::Single(bits), Type::F64) => Some(f64::from(f32::from_bits(*bits)).to_bits()),
            (Operand::Single(bits), _) => Some(u64::from(*bits)),
            (Operand::Double(bits), Type::F32) => {
                Some(soft::convert(f64::from_bits(*bits), soft::F32, Round::Nearest))
            }
            (Operand::Double(bits), _) if kind.size() == 8 => Some(*bits),
            _ => None,
        };
        bits.ok_or_else(|| {
            self.error(
                ParseErrorKind::Operand,
                format!(
                    "an operand of type .{} is expected",
                    format!("{kind:?}").to_lowercase()
                ),
            )
        })
    }

    /// A row of the pool that holds this in every lane.
    pub fn narrow_constant(&mut self, bits: u32) -> Row {
        let pool = &mut self.program.narrow;
        POOL | *self.narrow_pool.entry(bits).or_insert_with(|| {
            pool.push(bits);
            cut(pool.len() as u64 - 1)
        })
    }

    /// A row of the pool that holds this in every lane, plus the address of a variable unless that is [`NONE`].
    pub fn wide_constant(&mut self, bits: u64, variable: u32) -> Row {
        let (pool, relocations) = (&mut self.program.wide, &mut self.program.relocations);
        POOL | *self.wide_pool.entry((bits, variable)).or_insert_with(|| {
            pool.push(bits);
            let row = cut(pool.len() as u64 - 1);
            if variable != NONE {
                relocations.push((row, variable));
            }
            row
        })
    }
}

/// The low 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are what is asked for"
)]
pub(super) fn cut(bits: u64) -> u32 {
    bits as u32
}
