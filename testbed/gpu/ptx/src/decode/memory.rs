//! Loads, stores and copies.

use super::function::Decoder;
use super::operand::Width;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::{Operand, Type};
use crate::program::{Access, AddressSpace, AsyncCopy, NONE, Operation, Predicate, Register, Row};
use crate::{ParseError, ParseErrorKind};

const SPACES: [(&str, AddressSpace); 7] = [
    ("global", AddressSpace::Global),
    ("shared", AddressSpace::Shared),
    ("shared::cta", AddressSpace::Shared),
    ("local", AddressSpace::Local),
    ("const", AddressSpace::Const),
    ("param", AddressSpace::Param),
    ("param::entry", AddressSpace::Param),
];

/// The class of a request to this space.
pub fn class_of(space: AddressSpace) -> Class {
    match space {
        AddressSpace::Generic | AddressSpace::Global => Class::Global,
        AddressSpace::Shared => Class::Shared,
        AddressSpace::Local => Class::Local,
        AddressSpace::Const | AddressSpace::Param => Class::Constant,
    }
}

impl<'a> Decoder<'_, 'a> {
    /// Takes the space of an access; without one it is generic.
    pub fn space(m: &mut Modifiers<'_>) -> AddressSpace {
        m.flag("param::func");
        m.one_of(&SPACES).unwrap_or(AddressSpace::Generic)
    }

    /// Takes what says how an access is cached and ordered, none of which changes what it does here.
    pub fn ordering(m: &mut Modifiers<'_>) {
        for name in [
            "volatile", "weak", "relaxed", "acquire", "release", "acq_rel", "sc", "mmio",
        ] {
            m.flag(name);
        }
        for name in [
            "cta", "cluster", "gpu", "sys", "nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt",
        ] {
            m.flag(name);
        }
        let hints = [
            "L1::evict_normal",
            "L1::evict_unchanged",
            "L1::evict_first",
            "L1::evict_last",
            "L1::no_allocate",
        ];
        let prefetches = ["L2::64B", "L2::128B", "L2::256B", "L2::cache_hint"];
        for name in hints.into_iter().chain(prefetches) {
            m.flag(name);
        }
    }

    /// `ld` and `ldu`
    pub fn load(
        &mut self,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
        uniform: bool,
    ) -> Result<(), ParseError> {
        Self::ordering(m);
        let space = Self::space(m);
        if uniform && !matches!(space, AddressSpace::Global | AddressSpace::Generic) {
            return Err(m.refuse("`ldu` reads global memory alone".to_owned()));
        }
        let count = m.one_of(&[("v2", 2), ("v4", 4)]).unwrap_or(1_u8);
        let kind = Self::memory_type(m)?;
        self.expect_operands(operands, 2..=3)?;
        let registers = self.vector(&operands[0], kind, count, Self::loaded)?;
        self.access(&operands[1], space, kind, count, registers, true)
    }

    /// `st`
    pub fn store(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        Self::ordering(m);
        let space = Self::space(m);
        if space == AddressSpace::Const {
            return Err(m.refuse("constant memory is not written".to_owned()));
        }
        let count = m.one_of(&[("v2", 2), ("v4", 4)]).unwrap_or(1_u8);
        let kind = Self::memory_type(m)?;
        self.expect_operands(operands, 2..=3)?;
        let registers = self.vector(&operands[1], kind, count, |this, operand, kind| {
            this.source(operand, kind, Width::Wider)
        })?;
        self.access(&operands[0], space, kind, count, registers, false)
    }

    fn memory_type(m: &mut Modifiers<'_>) -> Result<Type, ParseError> {
        let kind = m.kind()?;
        if matches!(
            kind,
            Type::Pred | Type::Tf32 | Type::F16x2 | Type::Bf16 | Type::Bf16x2
        ) {
            return Err(m.bad_type(kind));
        }
        Ok(kind)
    }

    fn loaded(this: &mut Self, operand: &Operand<'a>, kind: Type) -> Result<Register, ParseError> {
        match operand {
            Operand::Name("_", None) => Ok(Register::W(NONE)),
            _ => this.destination(operand, kind, Width::Wider),
        }
    }

    fn vector(
        &mut self,
        operand: &Operand<'a>,
        kind: Type,
        count: u8,
        each: impl Fn(&mut Self, &Operand<'a>, Type) -> Result<Register, ParseError>,
    ) -> Result<[Register; 4], ParseError> {
        let mut registers = [Register::W(NONE); 4];
        let single;
        let parts: &[Operand<'a>] = match operand {
            Operand::Vector(parts) => parts,
            other => {
                single = [other.clone()];
                &single
            }
        };
        if parts.len() != usize::from(count) || usize::from(count) * kind.size() > 16 {
            let message = format!(
                "{} registers where {count} of at most 16 bytes together are expected",
                parts.len()
            );
            return Err(self.error(ParseErrorKind::Operand, message));
        }
        for (register, part) in registers.iter_mut().zip(parts) {
            *register = each(self, part, kind)?;
        }
        Ok(registers)
    }

    fn access(
        &mut self,
        operand: &Operand<'a>,
        space: AddressSpace,
        kind: Type,
        count: u8,
        registers: [Register; 4],
        load: bool,
    ) -> Result<(), ParseError> {
        let (address, named) = self.address(operand)?;
        let space = match (space, named) {
            (AddressSpace::Param, Some(AddressSpace::Local)) => AddressSpace::Local,
            (AddressSpace::Param, _) if !self.is_entry && named.is_none() => AddressSpace::Local,
            (AddressSpace::Const, Some(AddressSpace::Global)) => AddressSpace::Const,
            (AddressSpace::Generic, Some(AddressSpace::Shared)) => AddressSpace::Shared,
            (AddressSpace::Generic, Some(AddressSpace::Local)) => AddressSpace::Local,
            (space, Some(named)) if space != named && space != AddressSpace::Generic => {
                return Err(self.error(
                    ParseErrorKind::Operand,
                    format!("the variable is not in {space:?} memory").to_lowercase(),
                ));
            }
            (space, _) => space,
        };
        if space == AddressSpace::Param && !load {
            return Err(self.error(ParseErrorKind::Operand, "a kernel's parameters are not written"));
        }
        let size = u8::try_from(kind.size()).expect("at most 8");
        let access = Access {
            space,
            address,
            size,
            count,
            signed: kind.is_signed(),
            registers,
        };
        let operation = if load {
            Operation::Load(Box::new(access))
        } else {
            Operation::Store(Box::new(access))
        };
        self.emit(operation, class_of(space));
        Ok(())
    }

    /// `cp.async` and what belongs to it.
    pub fn copy(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        if !m.flag("async") {
            return Err(m.refuse("`cp` exists as `cp.async` alone".to_owned()));
        }
        m.need_target(80)?;
        if m.flag("commit_group") {
            self.expect_operands(operands, 0..=0)?;
            self.emit(Operation::AsyncCommit, Class::Other);
            return Ok(());
        }
        if m.flag("wait_all") {
            self.expect_operands(operands, 0..=0)?;
            self.emit(Operation::AsyncWait { left: None }, Class::Other);
            return Ok(());
        }
        if m.flag("wait_group") {
            let [Operand::Int(left)] = operands else {
                return Err(self.error(ParseErrorKind::Operand, "a number of groups is expected"));
            };
            self.emit(
                Operation::AsyncWait {
                    left: Some(u32::try_from(*left).unwrap_or(u32::MAX)),
                },
                Class::Other,
            );
            return Ok(());
        }
        if m.one_of(&[("bulk", ()), ("mbarrier", ()), ("reduce", ())])
            .is_some()
        {
            return Err(self.error(
                ParseErrorKind::NotImplemented,
                "this form of `cp.async` is not implemented",
            ));
        }
        let all = m.required(&[("ca", false), ("cg", true)])?;
        let to_shared = m.flag("shared") || m.flag("shared::cta");
        if !to_shared || !m.flag("global") {
            return Err(m.refuse("`cp.async` goes from .global to .shared".to_owned()));
        }
        Self::ordering(m);
        self.expect_operands(operands, 3..=5)?;
        let size = match operands[2] {
            Operand::Int(16) => 16,
            Operand::Int(size @ (4 | 8)) if !all => {
                if size == 4 {
                    4
                } else {
                    8
                }
            }
            _ => {
                return Err(self.error(
                    ParseErrorKind::Operand,
                    "`cp.async` copies 4, 8 or 16 bytes, and 16 with .cg",
                ));
            }
        };
        let (to, _) = self.address(&operands[0])?;
        let (from, _) = self.address(&operands[1])?;
        let (source, ignore) = self.copied_part(operands.get(3))?;
        self.emit(
            Operation::AsyncCopy(Box::new(AsyncCopy {
                to,
                from,
                size,
                source,
                ignore,
            })),
            Class::Global,
        );
        Ok(())
    }

    /// The operand that says how much of a copy is read: a number of bytes, or a predicate under which nothing is.
    fn copied_part(
        &mut self,
        operand: Option<&Operand<'a>>,
    ) -> Result<(Option<Row>, Option<Predicate>), ParseError> {
        let Some(operand) = operand else {
            return Ok((None, None));
        };
        let is_predicate = match operand {
            Operand::Not(_) => true,
            Operand::Name(name, None) => matches!(self.register(name), Ok((Register::P(_), _))),
            _ => false,
        };
        if is_predicate {
            return Ok((None, Some(self.predicate(operand)?)));
        }
        Ok((Some(self.narrow(operand, Type::U32, Width::Same)?), None))
    }

    /// `membar` and `fence`
    pub fn fence(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        for name in [
            "sc",
            "acq_rel",
            "proxy",
            "alias",
            "async",
            "async.global",
            "mbarrier_init",
            "release",
        ] {
            m.flag(name);
        }
        for name in ["cta", "cluster", "gpu", "sys", "gl", "global", "shared::cta"] {
            m.flag(name);
        }
        self.expect_operands(operands, 0..=0)?;
        self.emit(Operation::Fence, Class::Barrier);
        Ok(())
    }

    /// `prefetch` and its kin: hints that change nothing.
    pub fn prefetch(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        Self::space(m);
        for name in ["L1", "L2", "L2::evict_last", "L2::evict_normal", "tensormap"] {
            m.flag(name);
        }
        self.expect_operands(operands, 1..=2)?;
        self.address(&operands[0])?;
        self.emit(Operation::Nothing, Class::Other);
        Ok(())
    }

    /// Instructions that change nothing that a kernel can see.
    pub fn nothing(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        match name {
            "nanosleep" => {
                m.need_target(70)?;
                m.kind()?;
                self.expect_operands(operands, 1..=1)?;
                self.narrow(&operands[0], Type::U32, Width::Same)?;
            }
            "griddepcontrol" => {
                m.need_target(90)?;
                m.required(&[("launch_dependents", ()), ("wait", ())])?;
            }
            _ => {
                m.flag("mask");
                self.expect_operands(operands, 1..=1)?;
            }
        }
        self.emit(Operation::Nothing, Class::Other);
        Ok(())
    }
}
