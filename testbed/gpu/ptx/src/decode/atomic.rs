//! Atomic operations.

use super::function::Decoder;
use super::operand::Width;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::{Operand, Type};
use crate::program::{AddressSpace, Atomic, AtomicOperation as Op, AtomicType as Kind, Operation};
use crate::{ParseError, ParseErrorKind};

impl<'a> Decoder<'_, 'a> {
    /// `atom` and `red`
    pub fn atomic(
        &mut self,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
        returns: bool,
    ) -> Result<(), ParseError> {
        let operation = m.required(&[
            ("and", Op::And),
            ("or", Op::Or),
            ("xor", Op::Xor),
            ("exch", Op::Exchange),
            ("cas", Op::CompareExchange),
            ("add", Op::Add),
            ("inc", Op::Increment),
            ("dec", Op::Decrement),
            ("min", Op::Least),
            ("max", Op::Most),
        ])?;
        Self::ordering(m);
        m.flag("noftz");
        let space = Self::space(m);
        let declared = m.kind()?;
        let kind = Self::atomic_type(operation, declared, m)?;
        if !matches!(
            space,
            AddressSpace::Generic | AddressSpace::Global | AddressSpace::Shared
        ) {
            return Err(m.refuse("atomic operations work on global and shared memory".to_owned()));
        }
        if !returns && matches!(operation, Op::Exchange | Op::CompareExchange) {
            return Err(m.refuse("`red` has no exchange".to_owned()));
        }
        let swaps = operation == Op::CompareExchange;
        let count = usize::from(returns) + 2 + usize::from(swaps);
        self.expect_operands(operands, count..=count + 1)?;
        let mut rest = operands;
        let result = if returns {
            let (first, others) = rest.split_first().expect("just counted");
            rest = others;
            match first {
                Operand::Name("_", None) => None,
                to => Some(self.destination(to, declared, Width::Same)?),
            }
        } else {
            None
        };
        let (address, named) = self.address(&rest[0])?;
        let space = match (space, named) {
            (AddressSpace::Generic, Some(AddressSpace::Shared)) => AddressSpace::Shared,
            (AddressSpace::Global, Some(AddressSpace::Shared))
            | (AddressSpace::Shared, Some(AddressSpace::Global)) => {
                return Err(self.error(ParseErrorKind::Operand, "the variable is in another space"));
            }
            (space, _) => space,
        };
        let operand = self.source(&rest[1], declared, Width::Same)?;
        let swap = if swaps {
            Some(self.source(&rest[2], declared, Width::Same)?)
        } else {
            None
        };
        let atomic = Atomic {
            operation,
            kind,
            space,
            address,
            result,
            operand,
            swap,
        };
        self.emit(Operation::Atomic(Box::new(atomic)), Class::Atomic);
        Ok(())
    }

    fn atomic_type(operation: Op, declared: Type, m: &Modifiers<'_>) -> Result<Kind, ParseError> {
        let kind = match (operation, declared) {
            (Op::And | Op::Or | Op::Xor | Op::Exchange | Op::CompareExchange, Type::B32) => Kind::U32,
            (Op::And | Op::Or | Op::Xor | Op::Exchange | Op::CompareExchange, Type::B64) => Kind::U64,
            (Op::CompareExchange, Type::B16) => {
                m.need_target(70)?;
                Kind::B16
            }
            (Op::Increment | Op::Decrement | Op::Add | Op::Least | Op::Most, Type::U32) => Kind::U32,
            (Op::Add | Op::Least | Op::Most, Type::S32) => Kind::S32,
            (Op::Add | Op::Least | Op::Most, Type::U64) => Kind::U64,
            (Op::Least | Op::Most, Type::S64) => Kind::S64,
            (Op::Add, Type::F32) => Kind::F32,
            (Op::Add, Type::F64) => {
                m.need_target(60)?;
                Kind::F64
            }
            (Op::Add, Type::F16) => {
                m.need_target(70)?;
                Kind::F16
            }
            (Op::Add, Type::F16x2) => {
                m.need_target(60)?;
                Kind::F16x2
            }
            (Op::Add, Type::Bf16) => {
                m.need_target(90)?;
                Kind::Bf16
            }
            (Op::Add, Type::Bf16x2) => {
                m.need_target(90)?;
                Kind::Bf16x2
            }
            _ => return Err(m.bad_type(declared)),
        };
        Ok(kind)
    }
}
