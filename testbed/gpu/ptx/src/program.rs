//! Kernels in the compact form that is executed.
//!
//! Registers lie in three banks: predicates (a mask of lanes each), narrow rows (32 lanes of 32 bits) and wide rows
//! (32 lanes of 64). Immediates and addresses of variables are rows of a pool that all warps share.

mod call;
mod memory;
mod operand;
mod operation;
mod warp;

use crate::counters::Class;

pub use call::{Call, CallTarget, Passed};
pub use memory::{Access, AsyncCopy, Atomic, AtomicOperation, AtomicType, MatrixMove};
pub use operand::{
    Address, AddressSpace, Base, FUNCTION_BASE, NONE, POOL, Predicate, Register, Row, Special,
};
pub use operation::{Carry, CarryKind, Comparison, Operation};
pub use warp::{Barrier, BarrierKind, Collective, Element, MatrixProduct, Reduce, Shuffle, ShuffleMode};

/// An operation with its guard.
#[derive(Clone, Debug)]
pub struct Step {
    /// The predicate's row times two, plus one when negated; [`NONE`] without a guard.
    pub guard: u32,
    /// What it counts as.
    pub class: Class,
    /// What it does.
    pub operation: Operation,
}

/// Where a step stands in the text.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its line, from 1.
    pub line: u32,
    /// Its bytes.
    pub span: (u32, u32),
}

/// One function of a program.
#[derive(Clone, Debug, Default)]
pub struct FunctionLayout {
    /// Its first step.
    pub entry: u32,
    /// Rows in the bank of predicates, of narrow and of wide registers.
    pub rows: [u32; 3],
    /// Bytes of local memory of a frame.
    pub frame_bytes: u32,
}

/// A kernel with the functions it calls.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// All steps, the kernel's first.
    pub steps: Vec<Step>,
    /// Where each step stands.
    pub places: Vec<Place>,
    /// The functions; the first is the kernel.
    pub functions: Vec<FunctionLayout>,
    /// Narrow constants.
    pub narrow: Vec<u32>,
    /// Wide constants.
    pub wide: Vec<u64>,
    /// Wide constants to which the address of a module's variable is added at a launch: row, variable.
    pub relocations: Vec<(u32, u32)>,
    /// Bytes of static shared memory.
    pub shared_bytes: u32,
    /// Where dynamic shared memory begins.
    pub dynamic_shared: u32,
}
