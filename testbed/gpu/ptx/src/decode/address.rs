//! Addresses: what the names of variables and functions stand for, alone and between brackets.

use super::function::Decoder;
use super::scope::Symbol;
use crate::parse::tree::Operand;
use crate::program::{Address, AddressSpace, Base, FUNCTION_BASE, Register};
use crate::{ParseError, ParseErrorKind};

impl<'a> Decoder<'_, 'a> {
    /// What the name of a variable or function is worth: an absolute value, an offset in the frame, or a relocated row.
    pub(super) fn address_value(&mut self, operand: &Operand<'a>) -> Result<(Base, u64), ParseError> {
        let (name, offset) = match operand {
            Operand::Name(name, None) => (*name, 0),
            Operand::Sum(name, offset) => (*name, *offset),
            _ => return Err(self.error(ParseErrorKind::Operand, "an operand is expected")),
        };
        let plus = |base: u32| u64::from(base).wrapping_add(offset.cast_unsigned());
        match self.symbol(name) {
            Some(Symbol::Frame { offset: base, .. }) => return Ok((Base::Frame, plus(base))),
            Some(Symbol::Shared(base) | Symbol::Parameter(base)) => return Ok((Base::Zero, plus(base))),
            Some(Symbol::Register(..)) => {
                return Err(self.error(ParseErrorKind::Operand, format!("`{name}` is a register")));
            }
            None => {}
        }
        if let Some(&base) = self.reached.module_shared.get(name) {
            return Ok((Base::Zero, plus(base)));
        }
        if let Some(&variable) = self.unit.globals.get(name) {
            return Ok((Base::D(self.wide_constant(offset.cast_unsigned(), variable)), 0));
        }
        match self.unit.functions.get(name) {
            Some(&place) => Ok((Base::Zero, FUNCTION_BASE + place as u64 * 16)),
            None => Err(self.undefined(name)),
        }
    }

    /// What stands between brackets, and the space it is in when the name says so.
    pub fn address(&mut self, operand: &Operand<'a>) -> Result<(Address, Option<AddressSpace>), ParseError> {
        let (name, offset) = match operand {
            Operand::Address(None, offset) => {
                return Ok((
                    Address {
                        base: Base::Zero,
                        offset: *offset,
                    },
                    None,
                ));
            }
            Operand::Address(Some(name), offset) => (*name, *offset),
            // Parameters of calls may stand without brackets in old code; everything else may not.
            _ => return Err(self.error(ParseErrorKind::Operand, "an address in brackets is expected")),
        };
        let at = |base, known: i64| Address {
            base,
            offset: offset.wrapping_add(known),
        };
        match self.symbol(name) {
            Some(Symbol::Register(Register::W(row), _)) => return Ok((at(Base::W(row), 0), None)),
            Some(Symbol::Register(Register::D(row), _)) => return Ok((at(Base::D(row), 0), None)),
            Some(Symbol::Register(Register::P(_), _)) => {
                return Err(self.error(ParseErrorKind::Operand, format!("`{name}` is a predicate")));
            }
            Some(Symbol::Frame { offset, .. }) => {
                return Ok((at(Base::Frame, offset.into()), Some(AddressSpace::Local)));
            }
            Some(Symbol::Shared(offset)) => {
                return Ok((at(Base::Zero, offset.into()), Some(AddressSpace::Shared)));
            }
            Some(Symbol::Parameter(offset)) => {
                return Ok((at(Base::Zero, offset.into()), Some(AddressSpace::Param)));
            }
            None => {}
        }
        if let Some(&offset) = self.reached.module_shared.get(name) {
            return Ok((at(Base::Zero, offset.into()), Some(AddressSpace::Shared)));
        }
        if let Some(&variable) = self.unit.globals.get(name) {
            let row = self.wide_constant(0, variable);
            return Ok((at(Base::D(row), 0), Some(AddressSpace::Global)));
        }
        Err(self.undefined(name))
    }
}
