//! A parsed module: kernels, functions and variables.

use std::collections::HashMap;
use std::sync::Arc;

use crate::arith::soft::{self, Round};
use crate::decode::{self, Unit};
use crate::parse::tree::{self, Formal, Initial, Operand, Tree, Type, VariableSpace};
use crate::program::{FUNCTION_BASE, Program};
use crate::{Memory, OutOfMemory, ParseError, ParseErrorKind};

/// The most bytes of parameters that PTX 8.0 allows a kernel.
const MOST_PARAMETER_BYTES: usize = 4_352;

/// A device's compute capability: 8.6 is `sm_86`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    /// The generation.
    pub major: u32,
    /// The step within it.
    pub minor: u32,
}

/// The state space of a module's variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Device memory that kernels read and write.
    Global,
    /// Device memory that kernels only read.
    Constant,
}

/// An address in a variable's first value: that of another variable or of a function, plus an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relocation {
    at: usize,
    target: Target,
    offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Variable(u32),
    Function(usize),
}

/// A module-scope variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub space: Space,
    /// Bytes.
    pub size: u64,
    /// Bytes, a power of two.
    pub align: u64,
    /// Its first bytes; the rest is zero. Addresses in it are filled in by [`Module::place`].
    pub initial: Vec<u8>,
    pub(crate) relocations: Vec<Relocation>,
}

/// One parameter of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Bytes from the start of the parameter block.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// Bytes, a power of two.
    pub align: usize,
}

/// An entry function.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) program: Arc<Program>,
    pub(crate) text: Arc<str>,
    pub(crate) max_threads: Option<[u32; 3]>,
    pub(crate) required_threads: Option<[u32; 3]>,
    constant_bytes: u64,
}

impl Kernel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Bytes of the parameter block that a launch must give.
    pub fn parameter_bytes(&self) -> usize {
        self.parameters.last().map_or(0, |last| last.offset + last.size)
    }

    /// Bytes of shared memory that it declares.
    pub fn shared_bytes(&self) -> u32 {
        self.program.shared_bytes
    }

    /// Bytes of local memory per thread, without those of functions that it calls.
    pub fn local_bytes(&self) -> u32 {
        self.program
            .functions
            .first()
            .map_or(0, |kernel| kernel.frame_bytes)
    }

    /// Bytes of constant variables in its module.
    pub fn constant_bytes(&self) -> u64 {
        self.constant_bytes
    }

    /// 32-bit registers per thread, as the text uses them; a compiler to machine code reuses some and needs fewer.
    pub fn registers(&self) -> u32 {
        self.program
            .functions
            .first()
            .map_or(0, |kernel| kernel.rows[1] + 2 * kernel.rows[2])
    }

    /// The most threads of a block that `.maxntid` or `.reqntid` allow.
    pub fn max_threads(&self) -> Option<u32> {
        let [x, y, z] = self.required_threads.or(self.max_threads)?;
        Some(x.saturating_mul(y).saturating_mul(z))
    }

    /// The only shape of a block that `.reqntid` allows.
    pub fn required_block(&self) -> Option<[u32; 3]> {
        self.required_threads
    }
}

/// A parsed and decoded module, ready to run.
#[derive(Clone, Debug)]
pub struct Module {
    kernels: Vec<Kernel>,
    globals: Vec<Variable>,
}

impl Module {
    /// Parses PTX for a device. Any text gives a module or an error that names the line.
    pub fn parse(text: &str, device: Capability) -> Result<Self, ParseError> {
        let tree = crate::parse::parse(text)?;
        let newest = device.major * 10 + device.minor;
        if tree.target > newest {
            let message = format!(
                ".target sm_{} is newer than the device, which is sm_{newest}",
                tree.target
            );
            return Err(ParseError::new(ParseErrorKind::UnsupportedTarget, 1, message));
        }
        let names = index(&tree)?;
        let unit = Unit::new(&tree, names)?;
        let globals = variables(&tree, &unit)?;
        let constants = globals
            .iter()
            .filter(|variable| variable.space == Space::Constant);
        let constant_bytes = constants.map(|variable| variable.size).sum();
        let text: Arc<str> = text.into();
        let mut kernels = Vec::new();
        for function in tree
            .functions
            .iter()
            .filter(|function| function.is_entry && function.body.is_some())
        {
            let program = decode::kernel(&unit, function)?;
            let parameters = parameters(function)?;
            kernels.push(Kernel {
                name: function.name.to_owned(),
                parameters,
                program: Arc::new(program),
                text: Arc::clone(&text),
                max_threads: function.max_threads,
                required_threads: function.required_threads,
                constant_bytes,
            });
        }
        Ok(Self { kernels, globals })
    }

    /// The kernel of this name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }

    /// All kernels, in the order of the text.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// Variables of `.global` and `.const` at module scope, in the order of the text.
    pub fn globals(&self) -> &[Variable] {
        &self.globals
    }

    /// Allocates and initialises the variables; the addresses are in the order of [`Self::globals`]. When memory runs
    /// out, what was allocated is given back.
    ///
    /// # Panics
    /// When another thread frees a variable while it is initialised.
    pub fn place(&self, memory: &Memory) -> Result<Vec<u64>, OutOfMemory> {
        let mut addresses = Vec::with_capacity(self.globals.len());
        for variable in &self.globals {
            match memory.allocate(variable.size) {
                Ok(address) => addresses.push(address),
                Err(refused) => {
                    for address in addresses {
                        memory.free(address).expect("allocated above");
                    }
                    return Err(refused);
                }
            }
        }
        for (variable, &address) in self.globals.iter().zip(&addresses) {
            memory
                .fill(address, &[0], variable.size)
                .expect("allocated above");
            let mut bytes = variable.initial.clone();
            for relocation in &variable.relocations {
                let base = match relocation.target {
                    Target::Variable(target) => addresses[target as usize],
                    Target::Function(place) => FUNCTION_BASE + place as u64 * 16,
                };
                let value = base.wrapping_add_signed(relocation.offset).to_le_bytes();
                bytes[relocation.at..relocation.at + 8].copy_from_slice(&value);
            }
            memory.write(address, &bytes).expect("allocated above");
        }
        Ok(addresses)
    }
}

/// The place of each `.global` and `.const` variable among them.
fn index<'a>(tree: &Tree<'a>) -> Result<HashMap<&'a str, u32>, ParseError> {
    let mut names = HashMap::new();
    for variable in placed(tree) {
        let place = u32::try_from(names.len()).unwrap_or(u32::MAX);
        if names.insert(variable.name, place).is_some() {
            let message = format!("variable `{}` is declared twice", variable.name);
            return Err(ParseError::new(
                ParseErrorKind::Redefinition,
                variable.line,
                message,
            ));
        }
    }
    Ok(names)
}

fn placed<'t, 'a>(tree: &'t Tree<'a>) -> impl Iterator<Item = &'t tree::Variable<'a>> {
    tree.variables
        .iter()
        .filter(|variable| matches!(variable.space, VariableSpace::Global | VariableSpace::Const))
}

fn variables(tree: &Tree<'_>, unit: &Unit<'_, '_>) -> Result<Vec<Variable>, ParseError> {
    placed(tree)
        .map(|variable| self::variable(variable, unit))
        .collect()
}

fn variable(declared: &tree::Variable<'_>, unit: &Unit<'_, '_>) -> Result<Variable, ParseError> {
    let refuse = |kind, message: String| Err(ParseError::new(kind, declared.line, message));
    let Some(count) = declared.count.filter(|_| !declared.is_extern) else {
        return refuse(
            ParseErrorKind::UndefinedSymbol,
            format!("variable `{}` has no size in this module", declared.name),
        );
    };
    let size = declared.element.size();
    let (mut initial, mut relocations) = (Vec::with_capacity(declared.initial.len() * size), Vec::new());
    for value in &declared.initial {
        match value {
            Initial::Bits(operand) => match bits(operand, declared.element) {
                Some(bits) => initial.extend_from_slice(&bits.to_le_bytes()[..size]),
                None => {
                    return refuse(
                        ParseErrorKind::Syntax,
                        format!("variable `{}` is initialised with another type", declared.name),
                    );
                }
            },
            Initial::Address(name, offset) => {
                let variable = unit.globals.get(name).map(|&place| Target::Variable(place));
                let target =
                    variable.or_else(|| unit.functions.get(name).map(|&place| Target::Function(place)));
                let Some(target) = target else {
                    return refuse(
                        ParseErrorKind::UndefinedSymbol,
                        format!("`{name}` is not declared"),
                    );
                };
                if size != 8 {
                    return refuse(
                        ParseErrorKind::Syntax,
                        format!("the address of `{name}` has 64 bits"),
                    );
                }
                relocations.push(Relocation {
                    at: initial.len(),
                    target,
                    offset: *offset,
                });
                initial.extend_from_slice(&[0; 8]);
            }
        }
    }
    let space = if declared.space == VariableSpace::Const {
        Space::Constant
    } else {
        Space::Global
    };
    let size = count * size as u64;
    Ok(Variable {
        name: declared.name.to_owned(),
        space,
        size,
        align: declared.align,
        initial,
        relocations,
    })
}

fn bits(operand: &Operand<'_>, kind: Type) -> Option<u64> {
    match (operand, kind) {
        (Operand::Int(_), Type::F32 | Type::F64) => None,
        (Operand::Int(value), _) => Some(*value),
        (Operand::Single(bits), Type::F64) => Some(f64::from(f32::from_bits(*bits)).to_bits()),
        (Operand::Single(bits), _) if kind.size() == 4 => Some(u64::from(*bits)),
        (Operand::Double(bits), Type::F32) => {
            Some(soft::convert(f64::from_bits(*bits), soft::F32, Round::Nearest))
        }
        (Operand::Double(bits), _) if kind.size() == 8 => Some(*bits),
        _ => None,
    }
}

fn parameters(kernel: &tree::Function<'_>) -> Result<Vec<Parameter>, ParseError> {
    let refuse = |message: String| ParseError::new(ParseErrorKind::Syntax, kernel.line, message);
    let (mut found, mut end) = (Vec::new(), 0_usize);
    for formal in &kernel.parameters {
        let Formal::Variable(variable) = formal else {
            return Err(refuse(format!(
                "kernel `{}` takes a parameter in a register",
                kernel.name
            )));
        };
        let too_large = || {
            ParseError::new(
                ParseErrorKind::TooLarge,
                variable.line,
                "parameters are too large",
            )
        };
        let count = variable
            .count
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(too_large)?;
        let size = count.checked_mul(variable.element.size()).ok_or_else(too_large)?;
        let align = usize::try_from(variable.align).map_err(|_| too_large())?;
        let offset = end.next_multiple_of(align);
        end = offset
            .checked_add(size)
            .filter(|&end| end <= MOST_PARAMETER_BYTES)
            .ok_or_else(too_large)?;
        found.push(Parameter {
            name: variable.name.to_owned(),
            offset,
            size,
            align,
        });
    }
    Ok(found)
}
