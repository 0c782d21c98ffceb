//! Moves, selections, logic of three operands, and sums with carry.

use super::function::Decoder;
use super::operand::Width;
use super::scope::Symbol;
use super::special::special;
use crate::arith::Combine;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::{Operand, Type};
use crate::program::{AddressSpace, Carry, CarryKind, NONE, Operation, Predicate, Register, Row};
use crate::{ParseError, ParseErrorKind};

impl<'a> Decoder<'_, 'a> {
    /// `mov`: between registers, from constants, addresses and special registers, and to and from vectors.
    pub fn mov(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        let kind = m.kind()?;
        self.expect_operands(operands, 2..=2)?;
        match (&operands[0], &operands[1]) {
            (Operand::Vector(to), from) => self.unpack(to, from, kind),
            (to, Operand::Vector(from)) => self.pack(to, from, kind),
            (to, from) if kind == Type::Pred => {
                let Operand::Name(name, None) = to else {
                    return Err(self.error(ParseErrorKind::Operand, "a predicate is expected"));
                };
                let to = self.predicate_to(name)?;
                let from = self.predicate(from)?;
                self.emit(Operation::MovePredicate { to, from }, Class::Move);
                Ok(())
            }
            (to, Operand::Name(name, component)) if special(name, *component).is_some() => {
                let (which, _) = special(name, *component).expect("just seen");
                let to = self.destination(to, kind, Width::Same)?;
                self.emit(Operation::Special { to, which }, Class::Move);
                Ok(())
            }
            (to, Operand::Name(name, None)) if matches!(self.symbol(name), Some(Symbol::Frame { .. })) => {
                let Some(Symbol::Frame { offset, .. }) = self.symbol(name) else {
                    unreachable!("just seen")
                };
                let to = self.destination(to, kind, Width::Same)?;
                self.emit(Operation::FrameAddress { to, offset }, Class::Move);
                Ok(())
            }
            (to, from) => {
                let from = self.source(from, kind, Width::Same)?;
                let to = self.destination(to, kind, Width::Same)?;
                self.emit(Operation::Move { to, from }, Class::Move);
                Ok(())
            }
        }
    }

    fn element_bits(&self, kind: Type, count: usize) -> Result<u8, ParseError> {
        match (kind.size(), count) {
            (4, 4) => Ok(8),
            (2, 2) => Ok(8),
            (4, 2) | (8, 4) => Ok(16),
            (8, 2) => Ok(32),
            _ => Err(self.error(
                ParseErrorKind::Operand,
                format!("a vector of {count} does not fill the type"),
            )),
        }
    }

    fn element(bits: u8) -> Type {
        match bits {
            8 => Type::B8,
            16 => Type::B16,
            _ => Type::B32,
        }
    }

    fn pack(&mut self, to: &Operand<'a>, parts: &[Operand<'a>], kind: Type) -> Result<(), ParseError> {
        let bits = self.element_bits(kind, parts.len())?;
        let mut from = [NONE; 4];
        for (row, part) in from.iter_mut().zip(parts) {
            *row = self.narrow(
                part,
                Self::element(bits),
                if bits == 8 { Width::Wider } else { Width::Same },
            )?;
        }
        let to = self.destination(to, kind, Width::Same)?;
        self.emit(Operation::Pack { to, from, bits }, Class::Move);
        Ok(())
    }

    fn unpack(&mut self, parts: &[Operand<'a>], from: &Operand<'a>, kind: Type) -> Result<(), ParseError> {
        let bits = self.element_bits(kind, parts.len())?;
        let from = self.source(from, kind, Width::Same)?;
        let mut to = [NONE; 4];
        for (row, part) in to.iter_mut().zip(parts) {
            let width = if bits == 8 { Width::Wider } else { Width::Same };
            let Register::W(found) = self.destination(part, Self::element(bits), width)? else {
                return Err(self.error(ParseErrorKind::Operand, "a part of the vector is too wide"));
            };
            *row = found;
        }
        self.emit(Operation::Unpack { to, from, bits }, Class::Move);
        Ok(())
    }

    /// `selp`
    pub fn selp(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        let kind = m.kind()?;
        self.expect_operands(operands, 4..=4)?;
        if kind == Type::Pred || kind.size() == 1 {
            return Err(m.bad_type(kind));
        }
        let (a, b) = (self.row(&operands[1], kind)?, self.row(&operands[2], kind)?);
        let predicate = self.predicate(&operands[3])?;
        let to = self.destination(&operands[0], kind, Width::Same)?;
        self.emit(Operation::Select { to, a, b, predicate }, Class::Move);
        Ok(())
    }

    fn row(&mut self, operand: &Operand<'a>, kind: Type) -> Result<Row, ParseError> {
        let (Register::P(row) | Register::W(row) | Register::D(row)) =
            self.source(operand, kind, Width::Same)?;
        Ok(row)
    }

    /// `slct`
    pub fn slct(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        m.flag("ftz");
        let (kind, sign_kind) = (m.kind()?, m.kind()?);
        self.expect_operands(operands, 4..=4)?;
        if !matches!(sign_kind, Type::S32 | Type::F32) {
            return Err(m.bad_type(sign_kind));
        }
        let (a, b) = (self.row(&operands[1], kind)?, self.row(&operands[2], kind)?);
        let sign = self.narrow(&operands[3], sign_kind, Width::Same)?;
        let to = self.destination(&operands[0], kind, Width::Same)?;
        self.emit(
            Operation::SelectSign {
                to,
                a,
                b,
                sign,
                float: sign_kind == Type::F32,
            },
            Class::Move,
        );
        Ok(())
    }

    /// `lop3.b32`, or `lop3.op.b32` with a predicate.
    pub fn lop3(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        let combine = m.one_of(&[("or", Combine::Or), ("and", Combine::And)]);
        if m.kind()? != Type::B32 {
            return Err(m.bad_type(Type::B64));
        }
        let count = if combine.is_some() { 6 } else { 5 };
        self.expect_operands(operands, count..=count)?;
        let mut from = [0; 3];
        for (row, operand) in from.iter_mut().zip(&operands[1..4]) {
            *row = self.narrow(operand, Type::B32, Width::Same)?;
        }
        let table = match operands[4] {
            Operand::Int(table) => u8::try_from(table).ok(),
            _ => None,
        };
        let table = table.ok_or_else(|| {
            self.error(
                ParseErrorKind::Operand,
                "the table of `lop3` is a constant below 256",
            )
        })?;
        let (to, or) = match (combine, &operands[0]) {
            (None, to) => (self.narrow_to(to, Type::B32)?, None),
            (Some(combine), Operand::Pair(value, predicate)) => {
                let to = self.narrow_to(&Operand::Name(value, None), Type::B32)?;
                let with = self.predicate(&operands[5])?;
                (to, Some((self.predicate_to(predicate)?, combine, with)))
            }
            _ => return Err(self.error(ParseErrorKind::Operand, "`lop3` with a predicate gives `d|p`")),
        };
        self.emit(Operation::Logic3 { to, from, table, or }, Class::Integer);
        Ok(())
    }

    /// Logic on predicates.
    pub fn logic(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        m.kind()?;
        let count = if name == "not" { 2 } else { 3 };
        self.expect_operands(operands, count..=count)?;
        let Operand::Name(to, None) = operands[0] else {
            return Err(self.error(ParseErrorKind::Operand, "a predicate is expected"));
        };
        let to = self.predicate_to(to)?;
        let a = self.predicate(&operands[1])?;
        if name == "not" {
            let from = Predicate {
                negated: !a.negated,
                ..a
            };
            self.emit(Operation::MovePredicate { to, from }, Class::Integer);
            return Ok(());
        }
        let b = self.predicate(&operands[2])?;
        let combine = match name {
            "and" => Combine::And,
            "or" => Combine::Or,
            _ => Combine::Xor,
        };
        self.emit(Operation::Logic { combine, to, a, b }, Class::Integer);
        Ok(())
    }

    /// Sums and products that read or write the carry.
    pub fn carry(
        &mut self,
        name: &str,
        sets: bool,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        let product = matches!(name, "mad" | "madc");
        let kind = match name {
            "add" | "addc" => CarryKind::Add,
            "sub" | "subc" => CarryKind::Subtract,
            _ => m.required(&[("lo", CarryKind::MultiplyLow), ("hi", CarryKind::MultiplyHigh)])?,
        };
        let number = m.kind()?;
        if !matches!(number, Type::U32 | Type::S32 | Type::U64 | Type::S64) {
            return Err(m.bad_type(number));
        }
        let count = if product { 4 } else { 3 };
        self.expect_operands(operands, count..=count)?;
        let mut rows = [0; 3];
        for (row, operand) in rows.iter_mut().zip(&operands[1..]) {
            *row = self.row(operand, number)?;
        }
        let (Register::P(to) | Register::W(to) | Register::D(to)) =
            self.destination(&operands[0], number, Width::Same)?;
        let carry = Carry {
            kind,
            wide: number.size() == 8,
            signed: number.is_signed(),
            uses: name.ends_with('c'),
            sets,
            to,
            operands: rows,
        };
        self.emit(
            Operation::Carry(Box::new(carry)),
            if product { Class::Multiply } else { Class::Integer },
        );
        Ok(())
    }

    /// `cvta`
    pub fn convert_address(
        &mut self,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        let to_space = m.flag("to");
        let space = cvta_space(m)?;
        let kind = m.kind()?;
        self.expect_operands(operands, 2..=2)?;
        if !matches!(kind, Type::U32 | Type::U64) {
            return Err(m.bad_type(kind));
        }
        let from = self.source(&operands[1], kind, Width::Same)?;
        let to = self.destination(&operands[0], kind, Width::Same)?;
        self.emit(
            Operation::ConvertAddress {
                to,
                from,
                space,
                to_space,
            },
            Class::Move,
        );
        Ok(())
    }

    /// `isspacep`
    pub fn is_space(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        let space = cvta_space(m)?;
        self.expect_operands(operands, 2..=2)?;
        let Operand::Name(to, None) = operands[0] else {
            return Err(self.error(ParseErrorKind::Operand, "a predicate is expected"));
        };
        let to = self.predicate_to(to)?;
        let from = self.source(&operands[1], Type::U64, Width::Same)?;
        self.emit(Operation::IsSpace { to, from, space }, Class::Integer);
        Ok(())
    }
}

/// The space that an address is converted to, from or held against.
fn cvta_space(m: &mut Modifiers<'_>) -> Result<AddressSpace, ParseError> {
    m.required(&[
        ("global", AddressSpace::Global),
        ("shared", AddressSpace::Shared),
        ("shared::cta", AddressSpace::Shared),
        ("local", AddressSpace::Local),
        ("const", AddressSpace::Const),
        ("param", AddressSpace::Param),
    ])
}
