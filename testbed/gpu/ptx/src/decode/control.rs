//! Branches, calls and ends.

use super::function::{Decoder, FormalPlace, UNPLACED};
use super::operand::Width;
use super::scope::Symbol;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::{Operand, Type};
use crate::program::{Call, CallTarget, FUNCTION_BASE, Operation, Passed, Register};
use crate::{ParseError, ParseErrorKind};

/// A value as the caller of a function names it.
#[derive(Clone, Copy)]
enum Given {
    Memory { offset: u32, size: u32 },
    Register(Register),
}

impl<'a> Decoder<'_, 'a> {
    fn label(&self, name: &str) -> Result<u32, ParseError> {
        let found = self.scopes.iter().rev().find_map(|scope| scope.labels.get(name));
        let number = found.ok_or_else(|| {
            self.error(
                ParseErrorKind::UndefinedSymbol,
                format!("label `{name}` is not defined"),
            )
        })?;
        Ok(u32::try_from(*number).unwrap_or(0) | UNPLACED)
    }

    /// `bra`
    pub fn branch(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        m.flag("uni");
        let [Operand::Name(name, None)] = operands else {
            return Err(self.error(ParseErrorKind::Operand, "a label is expected"));
        };
        let target = self.label(name)?;
        self.emit(Operation::Branch { target }, Class::Control);
        Ok(())
    }

    /// `brx.idx`
    pub fn branch_index(
        &mut self,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        if !m.flag("idx") {
            return Err(m.refuse("`brx` exists as `brx.idx` alone".to_owned()));
        }
        m.flag("uni");
        let [index, Operand::Name(table, None)] = operands else {
            return Err(self.error(
                ParseErrorKind::Operand,
                "an index and a table of targets are expected",
            ));
        };
        let names = self
            .scopes
            .iter()
            .rev()
            .find_map(|scope| scope.tables.get(table))
            .cloned();
        let names = names.ok_or_else(|| {
            self.error(
                ParseErrorKind::UndefinedSymbol,
                format!("table `{table}` is not defined"),
            )
        })?;
        let targets = names
            .iter()
            .map(|name| self.label(name))
            .collect::<Result<_, _>>()?;
        let index = self.narrow(index, Type::U32, Width::Same)?;
        self.emit(Operation::BranchIndex { index, targets }, Class::Control);
        Ok(())
    }

    /// `ret`, `exit`, `trap` and `brkpt`
    pub fn leave(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        if name == "ret" {
            m.flag("uni");
        }
        self.expect_operands(operands, 0..=0)?;
        let operation = match name {
            "ret" if !self.is_entry => Operation::Return,
            "ret" | "exit" => Operation::Exit,
            "trap" => Operation::Trap,
            _ => Operation::Breakpoint,
        };
        self.emit(operation, Class::Control);
        Ok(())
    }

    /// `call`: direct, or through a register.
    pub fn call(&mut self, m: &mut Modifiers<'_>, operands: &[Operand<'a>]) -> Result<(), ParseError> {
        m.flag("uni");
        let (results, rest) = match operands {
            [Operand::List(results), rest @ ..] => (results.as_slice(), rest),
            rest => (&[][..], rest),
        };
        let (name, rest) = match rest {
            [Operand::Name(name, None), rest @ ..] => (*name, rest),
            _ => return Err(self.error(ParseErrorKind::Operand, "a function is expected")),
        };
        let arguments = match rest {
            [] => &[][..],
            [Operand::List(arguments)] | [Operand::List(arguments), _] => arguments.as_slice(),
            // An indirect call without arguments names its prototype alone.
            [Operand::Name(..)] => &[][..],
            _ => return Err(self.error(ParseErrorKind::Operand, "arguments in parentheses are expected")),
        };
        let (results, arguments) = (self.given(results, true)?, self.given(arguments, false)?);
        let (places, pointer) = if let Some(Symbol::Register(Register::D(row), _)) = self.symbol(name) {
            (
                self.reached.functions.iter().copied().skip(1).collect(),
                Some(row),
            )
        } else {
            let place = self.unit.functions.get(name).copied();
            let place = place.filter(|place| {
                self.reached.numbers.contains_key(place) && !self.unit.tree.functions[*place].is_entry
            });
            let undefined = || {
                self.error(
                    ParseErrorKind::UndefinedSymbol,
                    format!("function `{name}` is not declared"),
                )
            };
            (vec![place.ok_or_else(undefined)?], None)
        };
        let mut targets = Vec::new();
        for place in places {
            let function = self.reached.numbers[&place];
            let signature = self.signatures[function as usize].clone();
            let passed = pair(&arguments, &signature.parameters).zip(pair(&results, &signature.returns));
            if let Some((arguments, results)) = passed {
                targets.push(CallTarget {
                    value: FUNCTION_BASE + place as u64 * 16,
                    function,
                    arguments,
                    results,
                });
            } else if pointer.is_none() {
                return Err(self.error(
                    ParseErrorKind::Operand,
                    format!("the call does not match the parameters of `{name}`"),
                ));
            }
        }
        self.emit(
            Operation::Call(Box::new(Call { targets, pointer })),
            Class::Control,
        );
        Ok(())
    }

    fn given(&mut self, operands: &[Operand<'a>], results: bool) -> Result<Vec<Given>, ParseError> {
        let mut found = Vec::new();
        for operand in operands {
            let given = match operand {
                Operand::Name(name, None) => match self.symbol(name) {
                    Some(Symbol::Frame { offset, size }) => Given::Memory { offset, size },
                    Some(Symbol::Register(register, _)) => Given::Register(register),
                    _ => {
                        return Err(self.error(
                            ParseErrorKind::UndefinedSymbol,
                            format!("`{name}` cannot pass through a call"),
                        ));
                    }
                },
                Operand::Int(_) | Operand::Single(_) if !results => Given::Register(self.source(
                    operand,
                    if matches!(operand, Operand::Int(_)) {
                        Type::B32
                    } else {
                        Type::F32
                    },
                    Width::Same,
                )?),
                _ => return Err(self.error(ParseErrorKind::Operand, "a parameter is expected")),
            };
            found.push(given);
        }
        Ok(found)
    }
}

/// Joins what a caller gives with what the callee expects; none when they do not match.
fn pair(given: &[Given], expected: &[FormalPlace]) -> Option<Vec<Passed>> {
    let same_bank = |a: Register, b: Register| std::mem::discriminant(&a) == std::mem::discriminant(&b);
    let width = |register: Register| if matches!(register, Register::D(_)) { 8 } else { 4 };
    if given.len() != expected.len() {
        return None;
    }
    let pairs = given.iter().zip(expected);
    let join = |(given, expected): (&Given, &FormalPlace)| match (*given, *expected) {
        (
            Given::Memory { offset, size },
            FormalPlace::Memory {
                offset: callee,
                size: wanted,
            },
        ) if size == wanted => Some(Passed::Memory {
            caller: offset,
            callee,
            size,
        }),
        (Given::Register(caller), FormalPlace::Memory { offset: callee, size }) if size <= width(caller) => {
            Some(Passed::RegisterToMemory { caller, callee, size })
        }
        (Given::Register(caller), FormalPlace::Register(callee)) if same_bank(caller, callee) => {
            Some(Passed::Registers { caller, callee })
        }
        (Given::Memory { offset: caller, size }, FormalPlace::Register(callee)) if size <= width(callee) => {
            Some(Passed::MemoryToRegister { caller, callee, size })
        }
        _ => None,
    };
    pairs.map(join).collect()
}
