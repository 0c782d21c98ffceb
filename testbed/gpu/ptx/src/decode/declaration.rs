//! Declarations: where parameters, variables and registers of a function lie.

use super::function::{Decoder, FormalPlace, Signature};
use super::scope::Symbol;
use crate::parse::tree::{Formal, Function, Registers, Variable, VariableSpace};
use crate::{ParseError, ParseErrorKind};

/// The most registers of one declaration: what a compiler emits stays far below.
const MOST_REGISTERS: u64 = 1 << 20;
/// The most local memory of a thread, as on cards.
const MOST_LOCAL: u64 = 512 << 10;
impl<'a> Decoder<'_, 'a> {
    /// Declares parameters and results; a kernel's lie in the parameter block, a function's in its frame.
    pub(super) fn formals(&mut self, function: &Function<'a>) -> Result<Signature, ParseError> {
        let mut block = 0;
        let mut signature = Signature::default();
        let all = function
            .parameters
            .iter()
            .map(|f| (f, true))
            .chain(function.returns.iter().map(|f| (f, false)));
        for (formal, is_parameter) in all {
            let place = match formal {
                Formal::Register(registers) => {
                    let register = self.new_register(registers.kind);
                    self.declare(
                        registers.name,
                        Symbol::Register(register, registers.kind),
                        registers.line,
                    )?;
                    FormalPlace::Register(register)
                }
                Formal::Variable(variable) => {
                    let size = variable.count.unwrap_or(0) * variable.element.size() as u64;
                    if function.is_entry {
                        block = place(&mut block, variable.align, size).ok_or_else(|| {
                            self.error(ParseErrorKind::TooLarge, "parameters are too large")
                        })?;
                        let offset = block;
                        block += u32::try_from(size).unwrap_or(0);
                        self.declare(variable.name, Symbol::Parameter(offset), variable.line)?;
                        continue;
                    }
                    let (offset, size) = self.in_frame(variable)?;
                    FormalPlace::Memory { offset, size }
                }
            };
            if is_parameter {
                signature.parameters.push(place);
            } else {
                signature.returns.push(place);
            }
        }
        Ok(signature)
    }

    fn in_frame(&mut self, variable: &Variable<'a>) -> Result<(u32, u32), ParseError> {
        let size = variable
            .count
            .unwrap_or(0)
            .saturating_mul(variable.element.size() as u64);
        let offset = self.frame.next_multiple_of(variable.align);
        let end = offset.checked_add(size).filter(|&end| end <= MOST_LOCAL);
        self.frame = end.ok_or_else(|| {
            self.error(
                ParseErrorKind::TooLarge,
                "local memory of a thread is more than 512 KiB",
            )
        })?;
        let (offset, size) = (
            u32::try_from(offset).unwrap_or(0),
            u32::try_from(size).unwrap_or(0),
        );
        self.declare(variable.name, Symbol::Frame { offset, size }, variable.line)?;
        Ok((offset, size))
    }

    pub(super) fn variable(&mut self, variable: &Variable<'a>) -> Result<(), ParseError> {
        match variable.space {
            VariableSpace::Local | VariableSpace::Param => drop(self.in_frame(variable)?),
            VariableSpace::Shared => {
                let offset = self.reached.function_shared[self.number][self.shared_seen];
                self.shared_seen += 1;
                self.declare(variable.name, Symbol::Shared(offset), variable.line)?;
            }
            VariableSpace::Global | VariableSpace::Const => {
                let message = "`.global` and `.const` variables within a function are not implemented";
                return Err(ParseError::new(
                    ParseErrorKind::NotImplemented,
                    variable.line,
                    message,
                ));
            }
        }
        Ok(())
    }

    pub(super) fn registers(&mut self, registers: &Registers<'a>) -> Result<(), ParseError> {
        let Registers {
            kind,
            name,
            count,
            line,
        } = *registers;
        let Some(count) = count else {
            let register = self.new_register(kind);
            return self.declare(name, Symbol::Register(register, kind), line);
        };
        if count > MOST_REGISTERS {
            return Err(ParseError::new(
                ParseErrorKind::TooLarge,
                line,
                format!("{count} registers are too many"),
            ));
        }
        let scope = self.scopes.last_mut().expect("a body has a scope");
        if scope.ranges.iter().any(|&(prefix, ..)| prefix == name) {
            return Err(ParseError::new(
                ParseErrorKind::Redefinition,
                line,
                format!("registers `{name}` are declared twice"),
            ));
        }
        scope.ranges.push((name, count, kind));
        Ok(())
    }

    fn declare(&mut self, name: &'a str, symbol: Symbol, line: u32) -> Result<(), ParseError> {
        let scope = self.scopes.last_mut().expect("a body has a scope");
        if scope.names.insert(name, symbol).is_some() {
            return Err(ParseError::new(
                ParseErrorKind::Redefinition,
                line,
                format!("`{name}` is declared twice"),
            ));
        }
        Ok(())
    }
}

/// The offset of a parameter of this size and alignment at the end of a block.
fn place(end: &mut u32, align: u64, size: u64) -> Option<u32> {
    let offset = u64::from(*end).checked_next_multiple_of(align)?;
    offset.checked_add(size).filter(|&end| end <= 1 << 16)?;
    u32::try_from(offset).ok()
}
