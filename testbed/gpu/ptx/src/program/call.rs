//! Calls, and how values pass between the two sides.

use super::operand::{Register, Row};

/// Where a value of a call comes from, or goes to.
#[derive(Clone, Copy, Debug)]
pub enum Passed {
    /// Bytes of the caller's frame, and of the callee's.
    Memory { caller: u32, callee: u32, size: u32 },
    /// A register of the caller and bytes of the callee's frame.
    RegisterToMemory {
        caller: Register,
        callee: u32,
        size: u32,
    },
    /// A register of the caller and one of the callee.
    Registers { caller: Register, callee: Register },
    /// Bytes of the caller's frame and a register of the callee.
    MemoryToRegister {
        caller: u32,
        callee: Register,
        size: u32,
    },
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Functions that may be called, by their value in a register; a direct call has one.
    pub targets: Vec<CallTarget>,
    /// The wide register that picks one; none for a direct call.
    pub pointer: Option<Row>,
}

/// One function that a call may reach, and how values pass.
#[derive(Clone, Debug)]
pub struct CallTarget {
    /// Its value in a register.
    pub value: u64,
    /// Its number in the program.
    pub function: u32,
    /// What the caller gives.
    pub arguments: Vec<Passed>,
    /// What the callee gives back.
    pub results: Vec<Passed>,
}
