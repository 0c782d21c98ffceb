//! Operands: registers, constants and the addresses that names stand for.

use super::function::Decoder;
use super::scope::Symbol;
use crate::arith::soft::{self, Round};
use crate::counters::Class;
use crate::parse::tree::{Operand, Type};
use crate::program::{
    Address, AddressSpace, Base, FUNCTION_BASE, NONE, Operation, POOL, Predicate, Register, Row, Special,
};
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

    fn undefined(&self, name: &str) -> ParseError {
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

    /// The bits of a constant as this type.
    pub fn constant(&self, operand: &Operand<'a>, kind: Type) -> Result<u64, ParseError> {
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

    /// What the name of a variable or function is worth: an absolute value, an offset in the frame, or a relocated row.
    fn address_value(&mut self, operand: &Operand<'a>) -> Result<(Base, u64), ParseError> {
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

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are what is asked for"
)]
pub(super) fn cut(bits: u64) -> u32 {
    bits as u32
}

/// The special register of this name, and whether it has 64 bits.
pub fn special(name: &str, component: Option<&str>) -> Option<(Special, bool)> {
    let axis = |make: fn(u8) -> Special| {
        Some(match component? {
            "x" => make(0),
            "y" => make(1),
            "z" => make(2),
            _ => Special::Zero,
        })
    };
    let which = match (name, component) {
        ("%tid", _) => axis(Special::Tid)?,
        ("%ntid", _) => axis(Special::Ntid)?,
        ("%ctaid", _) => axis(Special::Ctaid)?,
        ("%nctaid", _) => axis(Special::Nctaid)?,
        ("%clusterid", Some(_)) => axis(Special::Ctaid)?,
        ("%nclusterid", Some(_)) => axis(Special::Nctaid)?,
        ("%cluster_ctaid", Some(_)) => Special::Zero,
        ("%cluster_nctaid", Some(_)) => Special::One,
        (_, Some(_)) => return None,
        ("%laneid", _) => Special::Laneid,
        ("%warpid", _) => Special::Warpid,
        ("%nwarpid", _) => Special::Nwarpid,
        ("%smid", _) => Special::Smid,
        ("%nsmid", _) => Special::Nsmid,
        ("%gridid", _) => Special::Gridid,
        ("%lanemask_eq", _) => Special::LanemaskEq,
        ("%lanemask_le", _) => Special::LanemaskLe,
        ("%lanemask_lt", _) => Special::LanemaskLt,
        ("%lanemask_ge", _) => Special::LanemaskGe,
        ("%lanemask_gt", _) => Special::LanemaskGt,
        ("%clock" | "%clock64", _) => Special::Clock,
        ("%clock_hi", _) => Special::ClockHi,
        ("%globaltimer", _) => Special::Globaltimer,
        ("%globaltimer_lo", _) => Special::GlobaltimerLo,
        ("%globaltimer_hi", _) => Special::GlobaltimerHi,
        ("%dynamic_smem_size", _) => Special::DynamicSharedSize,
        ("%total_smem_size" | "%aggr_smem_size", _) => Special::TotalSharedSize,
        ("%is_explicit_cluster" | "%cluster_ctarank" | "%reserved_smem_offset_begin", _) => Special::Zero,
        ("%cluster_nctarank", _) => Special::One,
        _ => {
            let environment = name
                .strip_prefix("%envreg")
                .or_else(|| name.strip_prefix("%pm"))?;
            environment.parse::<u8>().ok().filter(|&number| number < 32)?;
            Special::Zero
        }
    };
    Some((which, matches!(name, "%clock64" | "%globaltimer" | "%gridid")))
}
