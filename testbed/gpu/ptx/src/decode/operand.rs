//! Operands: registers, constants and the addresses that names stand for.

use super::constant::cut;
use super::function::Decoder;
use super::scope::Symbol;
use super::special::special;
use crate::counters::Class;
use crate::parse::tree::{Operand, Type};
use crate::program::{Base, NONE, Operation, Predicate, Register, Row, Special};
use crate::{ParseError, ParseErrorKind};

/// How far a register's width may differ from the instruction's type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Not at all.
    Same,
    /// The register may be wider, as `ld`, `st` and `cvt` allow.
    Wider,
}

impl<'a> Decoder<'_, 'a> {
    /// What a name stands for, if it is declared in the body.
    pub fn symbol(&mut self, name: &'a str) -> Option<Symbol> {
        for at in (0..self.scopes.len()).rev() {
            if let Some(&symbol) = self.scopes[at].names.get(name) {
                return Some(symbol);
            }
            if let Some(kind) = self.scopes[at].numbered(name) {
                let symbol = Symbol::Register(self.new_register(kind), kind);
                self.scopes[at].names.insert(name, symbol);
                return Some(symbol);
            }
        }
        None
    }

    pub(super) fn undefined(&self, name: &str) -> ParseError {
        self.error(
            ParseErrorKind::UndefinedSymbol,
            format!("`{name}` is not declared"),
        )
    }

    /// The register of this name.
    pub fn register(&mut self, name: &'a str) -> Result<(Register, Type), ParseError> {
        match self.symbol(name) {
            Some(Symbol::Register(register, kind)) => Ok((register, kind)),
            Some(_) => Err(self.error(ParseErrorKind::Operand, format!("`{name}` is no register"))),
            None => Err(self.undefined(name)),
        }
    }

    /// The row of a predicate.
    pub fn predicate_row(&mut self, name: &'a str) -> Result<Row, ParseError> {
        match self.register(name)? {
            (Register::P(row), _) => Ok(row),
            _ => Err(self.error(ParseErrorKind::Operand, format!("`{name}` is no predicate"))),
        }
    }

    /// A predicate operand: `p` or `!p`.
    pub fn predicate(&mut self, operand: &Operand<'a>) -> Result<Predicate, ParseError> {
        match operand {
            Operand::Name(name, None) => Ok(Predicate {
                row: self.predicate_row(name)?,
                negated: false,
            }),
            Operand::Not(name) => Ok(Predicate {
                row: self.predicate_row(name)?,
                negated: true,
            }),
            Operand::Int(value) => {
                let Register::P(row) = self.new_register(Type::Pred) else {
                    unreachable!("predicates have their bank")
                };
                let guard = std::mem::replace(&mut self.guard, NONE);
                self.emit(
                    Operation::SetPredicate {
                        to: row,
                        value: *value != 0,
                    },
                    Class::Hidden,
                );
                self.guard = guard;
                Ok(Predicate { row, negated: false })
            }
            _ => Err(self.error(ParseErrorKind::Operand, "a predicate is expected")),
        }
    }

    /// The destination predicate; `_` goes to a register that nobody reads.
    pub fn predicate_to(&mut self, name: &'a str) -> Result<Row, ParseError> {
        if name == "_" {
            let Register::P(row) = self.new_register(Type::Pred) else {
                unreachable!("predicates have their bank")
            };
            return Ok(row);
        }
        self.predicate_row(name)
    }

    fn check_width(&self, name: &str, declared: Type, kind: Type, width: Width) -> Result<(), ParseError> {
        let fits = declared != Type::Pred
            && match width {
                Width::Same => declared.size() == kind.size(),
                Width::Wider => declared.size() >= kind.size(),
            };
        if fits {
            return Ok(());
        }
        let bits = kind.size() * 8;
        Err(self.error(
            ParseErrorKind::Operand,
            format!("register `{name}` does not have the {bits} bits of the instruction's type"),
        ))
    }

    /// A source operand of up to 32 bits.
    pub fn narrow(&mut self, operand: &Operand<'a>, kind: Type, width: Width) -> Result<Row, ParseError> {
        if let Operand::Name(name, component) = operand {
            if let Some((which, _)) = special(name, *component) {
                let to = self.new_register(Type::B32);
                return Ok(self.read_special(which, to));
            }
            if component.is_none()
                && let Some(Symbol::Register(register, declared)) = self.symbol(name)
            {
                self.check_width(name, declared, kind, width)?;
                return Ok(match register {
                    Register::W(row) => row,
                    Register::D(row) => self.truncated(row),
                    Register::P(_) => {
                        return Err(self.error(ParseErrorKind::Operand, format!("`{name}` is a predicate")));
                    }
                });
            }
        }
        let bits = match operand {
            Operand::Name(..) | Operand::Sum(..) => match self.address_value(operand)? {
                (Base::Zero, value) => value,
                (Base::Frame, value) => {
                    let to = self.new_register(Type::B32);
                    self.emit(
                        Operation::FrameAddress {
                            to,
                            offset: cut(value),
                        },
                        Class::Hidden,
                    );
                    let Register::W(row) = to else {
                        unreachable!("32 bits are narrow")
                    };
                    return Ok(row);
                }
                _ => return Err(self.error(ParseErrorKind::Operand, "this address has 64 bits")),
            },
            _ => self.constant(operand, kind)?,
        };
        Ok(self.narrow_constant(cut(bits)))
    }

    /// A source operand of 64 bits.
    pub fn wide(&mut self, operand: &Operand<'a>, kind: Type) -> Result<Row, ParseError> {
        if let Operand::Name(name, component) = operand {
            if let Some((which, _)) = special(name, *component) {
                let to = self.new_register(Type::B64);
                return Ok(self.read_special(which, to));
            }
            if component.is_none()
                && let Some(Symbol::Register(register, declared)) = self.symbol(name)
            {
                self.check_width(name, declared, kind, Width::Same)?;
                let Register::D(row) = register else {
                    return Err(self.undefined(name));
                };
                return Ok(row);
            }
        }
        match operand {
            Operand::Name(..) | Operand::Sum(..) => match self.address_value(operand)? {
                (Base::Zero, value) => Ok(self.wide_constant(value, NONE)),
                (Base::D(row), value) => {
                    debug_assert_eq!(value, 0, "relocated addresses are whole");
                    Ok(row)
                }
                (_, value) => {
                    let to = self.new_register(Type::B64);
                    self.emit(
                        Operation::FrameAddress {
                            to,
                            offset: cut(value),
                        },
                        Class::Hidden,
                    );
                    let Register::D(row) = to else {
                        unreachable!("64 bits are wide")
                    };
                    Ok(row)
                }
            },
            _ => {
                let bits = self.constant(operand, kind)?;
                Ok(self.wide_constant(bits, NONE))
            }
        }
    }

    /// A source operand in the bank of its type.
    pub fn source(
        &mut self,
        operand: &Operand<'a>,
        kind: Type,
        width: Width,
    ) -> Result<Register, ParseError> {
        if kind.size() == 8 {
            return self.wide(operand, kind).map(Register::D);
        }
        self.narrow(operand, kind, width).map(Register::W)
    }

    /// A destination; `_` goes to a register that nobody reads.
    pub fn destination(
        &mut self,
        operand: &Operand<'a>,
        kind: Type,
        width: Width,
    ) -> Result<Register, ParseError> {
        match operand {
            Operand::Name("_", None) => Ok(self.new_register(kind)),
            Operand::Name(name, None) => {
                let (register, declared) = self.register(name)?;
                self.check_width(name, declared, kind, width)?;
                Ok(register)
            }
            _ => Err(self.error(ParseErrorKind::Operand, "a register is expected as destination")),
        }
    }

    /// A destination of up to 32 bits.
    pub fn narrow_to(&mut self, operand: &Operand<'a>, kind: Type) -> Result<Row, ParseError> {
        match self.destination(operand, kind, Width::Same)? {
            Register::W(row) => Ok(row),
            _ => Err(self.error(ParseErrorKind::Operand, "a register of 32 bits is expected")),
        }
    }

    fn read_special(&mut self, which: Special, to: Register) -> Row {
        self.emit(Operation::Special { to, which }, Class::Hidden);
        match to {
            Register::P(row) | Register::W(row) | Register::D(row) => row,
        }
    }

    fn truncated(&mut self, wide: Row) -> Row {
        let Register::W(to) = self.new_register(Type::B32) else {
            unreachable!("32 bits are narrow")
        };
        let function = crate::arith::Function::WD(|to, from| {
            for i in 0..32 {
                to[i] = cut(from[i]);
            }
        });
        self.emit(
            Operation::Arithmetic {
                function,
                to,
                from: [wide, 0, 0, 0],
            },
            Class::Hidden,
        );
        to
    }

    /// Refuses an instruction with another number of operands.
    pub fn expect_operands(
        &self,
        operands: &[Operand<'a>],
        count: std::ops::RangeInclusive<usize>,
    ) -> Result<(), ParseError> {
        if count.contains(&operands.len()) {
            return Ok(());
        }
        let (least, most) = (count.start(), count.end());
        let wanted = if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        };
        Err(self.error(
            ParseErrorKind::Operand,
            format!("{} operands where {wanted} are expected", operands.len()),
        ))
    }
}
