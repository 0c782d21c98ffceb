//! Decodes one function after the other into a program.

use std::collections::HashMap;

use super::reach::Reached;
use super::scope::{Scope, Symbol, labels};
use super::unit::Unit;
use crate::counters::Class;
use crate::parse::tree::{
    Formal, Function, Instruction, Registers, Statement, Type, Variable, VariableSpace,
};
use crate::program::{FunctionLayout, NONE, Operation, Place, Program, Register, Step};
use crate::{ParseError, ParseErrorKind};

/// The most registers of one declaration: what a compiler emits stays far below.
const MOST_REGISTERS: u64 = 1 << 20;
/// The most local memory of a thread, as on cards.
const MOST_LOCAL: u64 = 512 << 10;
/// A jump whose label is not placed yet carries the label's number with this bit.
pub const UNPLACED: u32 = 1 << 31;

/// Where a formal parameter of a function lies in the callee.
#[derive(Clone, Copy, Debug)]
pub enum FormalPlace {
    /// In the frame.
    Memory { offset: u32, size: u32 },
    /// In a register.
    Register(Register),
}

/// Parameters and results of a function.
#[derive(Clone, Debug, Default)]
pub struct Signature {
    /// What it takes.
    pub parameters: Vec<FormalPlace>,
    /// What it gives.
    pub returns: Vec<FormalPlace>,
}

/// A program as it grows.
pub struct Decoder<'d, 'a> {
    pub(super) unit: &'d Unit<'d, 'a>,
    pub(super) reached: &'d Reached,
    pub(super) program: Program,
    pub(super) narrow_pool: HashMap<u32, u32>,
    pub(super) wide_pool: HashMap<(u64, u32), u32>,
    pub(super) scopes: Vec<Scope<'a>>,
    pub(super) signatures: Vec<Signature>,
    /// The function's number; what follows belongs to it.
    pub(super) number: usize,
    pub(super) rows: [u32; 3],
    frame: u64,
    places: Vec<u32>,
    shared_seen: usize,
    pub(super) is_entry: bool,
    pub(super) guard: u32,
    pub(super) place: Place,
}

impl<'d, 'a> Decoder<'d, 'a> {
    /// Nothing decoded yet.
    pub fn new(unit: &'d Unit<'d, 'a>, reached: &'d Reached) -> Result<Self, ParseError> {
        let program = Program {
            functions: vec![FunctionLayout::default(); reached.functions.len()],
            shared_bytes: reached.shared_bytes,
            dynamic_shared: reached.dynamic_shared,
            ..Program::default()
        };
        let mut decoder = Self {
            unit,
            reached,
            program,
            narrow_pool: HashMap::new(),
            wide_pool: HashMap::new(),
            scopes: Vec::new(),
            signatures: Vec::new(),
            number: 0,
            rows: [0; 3],
            frame: 0,
            places: Vec::new(),
            shared_seen: 0,
            is_entry: true,
            guard: NONE,
            place: Place {
                line: 0,
                span: (0, 0),
            },
        };
        // Callers need the callee's signature, whichever of them comes first.
        for &at in &reached.functions {
            let function = &unit.tree.functions[at];
            decoder.begin(function)?;
            decoder.scopes.push(Scope::default());
            let signature = decoder.formals(function)?;
            decoder.signatures.push(signature);
            decoder.scopes.clear();
        }
        Ok(decoder)
    }

    /// The whole program.
    pub fn finish(self) -> Program {
        self.program
    }

    fn begin(&mut self, function: &Function<'a>) -> Result<(), ParseError> {
        self.rows = [0; 3];
        self.frame = 0;
        self.shared_seen = 0;
        self.is_entry = function.is_entry;
        self.place = Place {
            line: function.line,
            span: (0, 0),
        };
        if self.program.steps.len() > (UNPLACED as usize) / 2 {
            return Err(self.error(ParseErrorKind::TooLarge, "the module has too many instructions"));
        }
        Ok(())
    }

    /// Decodes a function that has a body.
    pub fn function(&mut self, number: usize, function: &Function<'a>) -> Result<(), ParseError> {
        let body = function.body.as_deref().unwrap_or_default();
        self.begin(function)?;
        self.number = number;
        let (scopes, count) = labels(body)?;
        let mut scopes = scopes.into_iter();
        self.places = vec![NONE; count];
        self.scopes = scopes.next().into_iter().collect();
        self.formals(function)?;
        let entry = self.program.steps.len();
        for statement in body {
            match statement {
                Statement::Open => self.scopes.extend(scopes.next()),
                Statement::Close => drop(self.scopes.pop()),
                Statement::Registers(registers) => self.registers(registers)?,
                Statement::Variable(variable) => self.variable(variable)?,
                Statement::Label(name, _) => {
                    let here = self.here();
                    if let Some(&label) = self.scopes.last().and_then(|scope| scope.labels.get(name)) {
                        self.places[label] = here;
                    }
                }
                Statement::Instruction(instruction) => self.step(instruction)?,
                Statement::Targets(..) | Statement::Prototype => {}
            }
        }
        // A body may end without `ret`.
        self.guard = NONE;
        self.emit(Operation::Return, Class::Hidden);
        self.place_jumps(entry);
        let too_large = |_| {
            ParseError::new(
                ParseErrorKind::TooLarge,
                function.line,
                "local memory is too large",
            )
        };
        self.program.functions[number] = FunctionLayout {
            entry: u32::try_from(entry).unwrap_or(NONE),
            rows: self.rows,
            frame_bytes: u32::try_from(self.frame.next_multiple_of(16)).map_err(too_large)?,
        };
        self.scopes.clear();
        Ok(())
    }

    fn step(&mut self, instruction: &Instruction<'a>) -> Result<(), ParseError> {
        let span = (instruction.span.0, instruction.span.1);
        let short = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        self.place = Place {
            line: instruction.line,
            span: (short(span.0), short(span.1)),
        };
        self.guard = match instruction.guard {
            None => NONE,
            Some((name, negated)) => self.predicate_row(name)? * 2 + u32::from(negated),
        };
        self.instruction(instruction)
    }

    fn here(&self) -> u32 {
        u32::try_from(self.program.steps.len()).unwrap_or(NONE)
    }

    /// Adds an operation for the instruction that is decoded.
    pub fn emit(&mut self, operation: Operation, class: Class) {
        self.program.steps.push(Step {
            guard: self.guard,
            class,
            operation,
        });
        self.program.places.push(self.place);
    }

    fn place_jumps(&mut self, entry: usize) {
        let places = &self.places;
        let placed = |target: &mut u32| {
            if *target & UNPLACED != 0 {
                *target = places[(*target & !UNPLACED) as usize];
            }
        };
        for step in &mut self.program.steps[entry..] {
            match &mut step.operation {
                Operation::Branch { target } => placed(target),
                Operation::BranchIndex { targets, .. } => targets.iter_mut().for_each(placed),
                _ => {}
            }
        }
    }

    /// Declares parameters and results; a kernel's lie in the parameter block, a function's in its frame.
    fn formals(&mut self, function: &Function<'a>) -> Result<Signature, ParseError> {
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

    fn variable(&mut self, variable: &Variable<'a>) -> Result<(), ParseError> {
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

    fn registers(&mut self, registers: &Registers<'a>) -> Result<(), ParseError> {
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

    /// A register that no name stands for.
    pub fn new_register(&mut self, kind: Type) -> Register {
        let (bank, register): (usize, fn(u32) -> Register) = match kind {
            Type::Pred => (0, Register::P),
            _ if kind.size() == 8 => (2, Register::D),
            _ => (1, Register::W),
        };
        self.rows[bank] += 1;
        register(self.rows[bank] - 1)
    }

    /// A refusal at the instruction that is decoded.
    pub fn error(&self, kind: ParseErrorKind, message: impl Into<String>) -> ParseError {
        ParseError::new(kind, self.place.line, message)
    }
}

/// The offset of a parameter of this size and alignment at the end of a block.
fn place(end: &mut u32, align: u64, size: u64) -> Option<u32> {
    let offset = u64::from(*end).checked_next_multiple_of(align)?;
    offset.checked_add(size).filter(|&end| end <= 1 << 16)?;
    u32::try_from(offset).ok()
}
