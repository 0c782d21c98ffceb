//! Comparisons.

use super::function::Decoder;
use super::operand::Width;
use crate::arith::{Combine, FloatTest, Relation};
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::{Operand, Type};
use crate::program::{Comparison, Operation, Register};
use crate::{ParseError, ParseErrorKind};

const COMBINES: [(&str, Combine); 3] = [("and", Combine::And), ("or", Combine::Or), ("xor", Combine::Xor)];

impl<'a> Decoder<'_, 'a> {
    /// `setp`
    pub fn setp(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        let relation = Relation::take(m)?;
        let combine = m.one_of(&COMBINES);
        let flush = m.flag("ftz");
        let kind = m.kind()?;
        let comparison = self.comparison(relation, combine, flush, kind, m, operands)?;
        let (to, complement) = match operands[0] {
            Operand::Name(to, None) => (self.predicate_to(to)?, None),
            Operand::Pair(to, complement) => (self.predicate_to(to)?, Some(self.predicate_to(complement)?)),
            _ => return Err(self.error(ParseErrorKind::Operand, "a predicate is expected")),
        };
        let packed = matches!(kind, Type::F16x2 | Type::Bf16x2);
        let operation = Operation::Compare {
            comparison: Box::new(comparison),
            to,
            complement,
            packed,
        };
        self.emit(operation, Self::comparison_class(kind));
        Ok(())
    }

    /// `set`
    pub fn set(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        let relation = Relation::take(m)?;
        let combine = m.one_of(&COMBINES);
        let flush = m.flag("ftz");
        let (to_kind, kind) = (m.kind()?, m.kind()?);
        let comparison = self.comparison(relation, combine, flush, kind, m, operands)?;
        let packed = matches!(kind, Type::F16x2 | Type::Bf16x2);
        let value = match to_kind {
            Type::U32 | Type::S32 if packed => 0xffff,
            Type::U32 | Type::S32 => u32::MAX,
            Type::U16 | Type::S16 => 0xffff,
            Type::F32 => 1.0_f32.to_bits(),
            Type::F16 | Type::F16x2 => 0x3c00,
            Type::Bf16 | Type::Bf16x2 => 0x3f80,
            other => return Err(m.bad_type(other)),
        };
        let Register::W(to) = self.destination(&operands[0], to_kind, Width::Same)? else {
            return Err(m.bad_type(to_kind));
        };
        let operation = Operation::CompareValue {
            comparison: Box::new(comparison),
            to,
            value,
            packed,
        };
        self.emit(operation, Self::comparison_class(kind));
        Ok(())
    }

    fn comparison_class(kind: Type) -> Class {
        if kind == Type::F64 {
            Class::Double
        } else {
            Class::Integer
        }
    }

    fn comparison(
        &mut self,
        relation: Relation,
        combine: Option<Combine>,
        flush: bool,
        kind: Type,
        m: &Modifiers<'_>,
        operands: &[Operand<'a>],
    ) -> Result<Comparison, ParseError> {
        let count = if combine.is_some() { 4 } else { 3 };
        self.expect_operands(operands, count..=count)?;
        let compare = crate::arith::compare_function(relation, kind, flush, m)?;
        let mut rows = [0; 2];
        for (row, operand) in rows.iter_mut().zip(&operands[1..3]) {
            let (Register::P(found) | Register::W(found) | Register::D(found)) =
                self.source(operand, kind, Width::Same)?;
            *row = found;
        }
        let combine = match combine {
            Some(combine) => Some((combine, self.predicate(&operands[3])?)),
            None => None,
        };
        Ok(Comparison {
            compare,
            operands: rows,
            combine,
        })
    }

    /// `testp`
    pub fn testp(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        let test = m.required(&[
            ("finite", FloatTest::Finite),
            ("infinite", FloatTest::Infinite),
            ("number", FloatTest::Number),
            ("notanumber", FloatTest::NotANumber),
            ("normal", FloatTest::Normal),
            ("subnormal", FloatTest::Subnormal),
        ])?;
        let kind = m.kind()?;
        if !matches!(kind, Type::F32 | Type::F64) {
            return Err(m.bad_type(kind));
        }
        self.expect_operands(operands, 2..=2)?;
        let Operand::Name(to, None) = operands[0] else {
            return Err(self.error(ParseErrorKind::Operand, "a predicate is expected"));
        };
        let to = self.predicate_to(to)?;
        let from = self.source(&operands[1], kind, Width::Same)?;
        self.emit(Operation::Test { to, from, test }, Class::Integer);
        Ok(())
    }
}
