//! Decodes one function after the other into a program.

use std::collections::HashMap;

use super::reach::Reached;
use super::scope::{Scope, labels};
use super::unit::Unit;
use crate::counters::Class;
use crate::parse::tree::{Function, Instruction, Statement, Type};
use crate::program::{FunctionLayout, NONE, Operation, Place, Program, Register, Step};
use crate::{ParseError, ParseErrorKind};

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
    /// Bytes of the frame so far.
    pub(super) frame: u64,
    places: Vec<u32>,
    /// Shared variables of the function that were declared so far.
    pub(super) shared_seen: usize,
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
