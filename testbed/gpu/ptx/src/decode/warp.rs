//! Barriers, and what the lanes of a warp do together.

use super::function::Decoder;
use super::operand::Width;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::{Operand, Type};
use crate::program::{
    Barrier, BarrierKind, Collective, Operation, Reduce, Register, Row, Shuffle, ShuffleMode,
};
use crate::{ParseError, ParseErrorKind};

impl<'a> Decoder<'_, 'a> {
    /// `bar` and `barrier`; `bar` is `barrier.aligned`.
    pub fn barrier(
        &mut self,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
        is_bar: bool,
    ) -> Result<(), ParseError> {
        if m.flag("warp") {
            m.flag("sync");
            let [mask] = operands else {
                return Err(self.error(ParseErrorKind::Operand, "a mask is expected"));
            };
            return self.collective(mask, Collective::Sync, Class::Barrier);
        }
        if m.flag("cluster") {
            return Err(self.error(
                ParseErrorKind::NotImplemented,
                "`barrier.cluster` is not implemented",
            ));
        }
        m.flag("cta");
        let aligned = m.flag("aligned") || is_bar;
        let kind = m.required(&[("sync", 's'), ("arrive", 'a'), ("red", 'r')])?;
        if kind == 'r' {
            return self.barrier_reduction(m, operands, aligned);
        }
        let least = if kind == 'a' { 2 } else { 1 };
        self.expect_operands(operands, least..=2)?;
        let number = self.narrow(&operands[0], Type::U32, Width::Same)?;
        let threads = operands
            .get(1)
            .map(|count| self.narrow(count, Type::U32, Width::Same))
            .transpose()?;
        let kind = if kind == 'a' {
            BarrierKind::Arrive
        } else {
            BarrierKind::Sync
        };
        let barrier = Barrier {
            kind,
            number,
            threads,
            aligned,
            operand: None,
            result: None,
        };
        self.emit(Operation::Barrier(Box::new(barrier)), Class::Barrier);
        Ok(())
    }

    fn barrier_reduction(
        &mut self,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
        aligned: bool,
    ) -> Result<(), ParseError> {
        let kind = m.required(&[
            ("popc", BarrierKind::Count),
            ("and", BarrierKind::All),
            ("or", BarrierKind::Any),
        ])?;
        let result_kind = m.kind()?;
        self.expect_operands(operands, 3..=4)?;
        let result = match (kind, result_kind, &operands[0]) {
            (BarrierKind::Count, Type::U32, to) => self.destination(to, Type::U32, Width::Same)?,
            (BarrierKind::All | BarrierKind::Any, Type::Pred, Operand::Name(name, None)) => {
                Register::P(self.predicate_to(name)?)
            }
            _ => return Err(m.bad_type(result_kind)),
        };
        let number = self.narrow(&operands[1], Type::U32, Width::Same)?;
        let threads = if operands.len() == 4 {
            Some(self.narrow(&operands[2], Type::U32, Width::Same)?)
        } else {
            None
        };
        let operand = self.predicate(&operands[operands.len() - 1])?;
        let barrier = Barrier {
            kind,
            number,
            threads,
            aligned,
            operand: Some(operand),
            result: Some(result),
        };
        self.emit(Operation::Barrier(Box::new(barrier)), Class::Barrier);
        Ok(())
    }

    fn collective(
        &mut self,
        mask: &Operand<'a>,
        collective: Collective,
        class: Class,
    ) -> Result<(), ParseError> {
        let mask = self.narrow(mask, Type::B32, Width::Same)?;
        self.emit(
            Operation::Collective {
                mask,
                collective: Box::new(collective),
            },
            class,
        );
        Ok(())
    }

    fn need_sync(m: &mut Modifiers<'_>, name: &str) -> Result<(), ParseError> {
        if m.flag("sync") {
            return Ok(());
        }
        Err(m.refuse(format!(
            "`{name}` without .sync ended with PTX 6.0; `{name}.sync` names its lanes"
        )))
    }

    fn value_and_predicate(
        &mut self,
        operand: &Operand<'a>,
        kind: Type,
    ) -> Result<(Row, Option<Row>), ParseError> {
        match operand {
            Operand::Pair(value, predicate) => {
                let value = self.narrow_to(&Operand::Name(value, None), kind)?;
                Ok((value, Some(self.predicate_to(predicate)?)))
            }
            other => Ok((self.narrow_to(other, kind)?, None)),
        }
    }

    /// `shfl.sync`
    pub fn shuffle(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        Self::need_sync(m, "shfl")?;
        let mode = m.required(&[
            ("up", ShuffleMode::Up),
            ("down", ShuffleMode::Down),
            ("bfly", ShuffleMode::Butterfly),
            ("idx", ShuffleMode::Index),
        ])?;
        if m.kind()? != Type::B32 {
            return Err(m.bad_type(Type::B64));
        }
        self.expect_operands(operands, 5..=5)?;
        let value = self.narrow(&operands[1], Type::B32, Width::Same)?;
        let lane = self.narrow(&operands[2], Type::B32, Width::Same)?;
        let clamp = self.narrow(&operands[3], Type::B32, Width::Same)?;
        let (result, in_range) = self.value_and_predicate(&operands[0], Type::B32)?;
        let shuffle = Shuffle {
            mode,
            result,
            in_range,
            value,
            lane,
            clamp,
        };
        self.collective(&operands[4], Collective::Shuffle(shuffle), Class::Warp)
    }

    /// `vote.sync`
    pub fn vote(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        Self::need_sync(m, "vote")?;
        let mode = m.required(&[("all", 'a'), ("any", 'o'), ("uni", 'u'), ("ballot", 'b')])?;
        let kind = m.kind()?;
        self.expect_operands(operands, 3..=3)?;
        let of = self.predicate(&operands[1])?;
        if mode == 'b' {
            if kind != Type::B32 {
                return Err(m.bad_type(kind));
            }
            let to = self.narrow_to(&operands[0], Type::B32)?;
            return self.collective(&operands[2], Collective::Ballot(to, of), Class::Warp);
        }
        let Operand::Name(to, None) = operands[0] else {
            return Err(self.error(ParseErrorKind::Operand, "a predicate is expected"));
        };
        if kind != Type::Pred {
            return Err(m.bad_type(kind));
        }
        let to = self.predicate_to(to)?;
        let collective = match mode {
            'a' => Collective::All(to, of),
            'o' => Collective::Any(to, of),
            _ => Collective::Uniform(to, of),
        };
        self.collective(&operands[2], collective, Class::Warp)
    }

    /// `match.sync`
    pub fn matching(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        m.need_target(70)?;
        let all = m.required(&[("any", false), ("all", true)])?;
        Self::need_sync(m, "match")?;
        let kind = m.kind()?;
        if !matches!(kind, Type::B32 | Type::B64) {
            return Err(m.bad_type(kind));
        }
        self.expect_operands(operands, 3..=3)?;
        let value = self.source(&operands[1], kind, Width::Same)?;
        let (to, predicate) = self.value_and_predicate(&operands[0], Type::B32)?;
        let collective = if all {
            Collective::MatchAll(to, predicate, value)
        } else {
            Collective::MatchAny(to, value)
        };
        self.collective(&operands[2], collective, Class::Warp)
    }

    /// `redux.sync`
    pub fn reduce(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        m.need_target(80)?;
        Self::need_sync(m, "redux")?;
        let operation = m.required(&[
            ("add", '+'),
            ("min", '<'),
            ("max", '>'),
            ("and", '&'),
            ("or", '|'),
            ("xor", '^'),
        ])?;
        let kind = m.kind()?;
        let reduce = match (operation, kind) {
            ('+', Type::U32 | Type::S32) => Reduce::Add,
            ('<', Type::U32) => Reduce::LeastU32,
            ('<', Type::S32) => Reduce::LeastS32,
            ('>', Type::U32) => Reduce::MostU32,
            ('>', Type::S32) => Reduce::MostS32,
            ('&', Type::B32) => Reduce::And,
            ('|', Type::B32) => Reduce::Or,
            ('^', Type::B32) => Reduce::Xor,
            _ => return Err(m.bad_type(kind)),
        };
        self.expect_operands(operands, 3..=3)?;
        let value = self.narrow(&operands[1], kind, Width::Same)?;
        let to = self.narrow_to(&operands[0], kind)?;
        self.collective(&operands[2], Collective::Reduce(reduce, to, value), Class::Warp)
    }

    /// `elect.sync`
    pub fn elect(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        m.need_target(90)?;
        Self::need_sync(m, "elect")?;
        let [Operand::Pair(leader, predicate), mask] = operands else {
            return Err(self.error(ParseErrorKind::Operand, "`elect.sync d|p, mask` is expected"));
        };
        let Register::W(leader) = self.destination(&Operand::Name(leader, None), Type::B32, Width::Same)?
        else {
            return Err(self.error(ParseErrorKind::Operand, "a register of 32 bits is expected"));
        };
        let predicate = self.predicate_to(predicate)?;
        self.collective(mask, Collective::Elect(leader, predicate), Class::Warp)
    }

    /// `activemask`
    pub fn active_mask(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        m.kind()?;
        self.expect_operands(operands, 1..=1)?;
        let to = self.narrow_to(&operands[0], Type::B32)?;
        self.emit(Operation::ActiveMask { to }, Class::Warp);
        Ok(())
    }
}
