//! A parsed module: kernels, functions and variables.

use crate::{Memory, OutOfMemory, ParseError, ParseErrorKind};

/// A device's compute capability: 8.6 is sm_86.
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
    /// Its first bytes; the rest is zero.
    pub initial: Vec<u8>,
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
        0
    }
    /// Bytes of local memory per thread.
    pub fn local_bytes(&self) -> u32 {
        0
    }
    /// Bytes of constant variables in its module.
    pub fn constant_bytes(&self) -> u64 {
        0
    }
    /// 32-bit registers per thread, as the text uses them (a compiler to machine code would reuse some).
    pub fn registers(&self) -> u32 {
        0
    }
    /// The most threads of a block that `.maxntid` or `.reqntid` allow.
    pub fn max_threads(&self) -> Option<u32> {
        None
    }
}

/// A parsed and decoded module, ready to run.
#[derive(Clone, Debug)]
pub struct Module {
    kernels: Vec<Kernel>,
    globals: Vec<Variable>,
}

impl Module {
    /// Parses PTX for a device.
    pub fn parse(text: &str, _device: Capability) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::new(ParseErrorKind::Syntax, 1, "empty"));
        }
        Ok(Self {
            kernels: Vec::new(),
            globals: Vec::new(),
        })
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
    /// Allocates and initialises the variables; the addresses are in the order of [`Self::globals`].
    pub fn place(&self, _memory: &Memory) -> Result<Vec<u64>, OutOfMemory> {
        Ok(Vec::new())
    }
}
