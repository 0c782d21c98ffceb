//! What stops a launch, said as compute-sanitizer would say it.

use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An access outside of every allocation, or beyond the end of shared, local or parameter memory.
    OutOfBounds,
    /// An access at an address that is no multiple of its size.
    Misaligned,
    /// An access to an allocation that was freed.
    Freed,
    /// An access at or near address zero.
    Null,
    /// An address of one state space used in another, or a write to read-only memory.
    WrongSpace,
    /// A read of memory or of a register that nothing wrote.
    Uninitialised,
    /// Two threads touched the same shared memory, one of them writing, with nothing that orders them.
    Race,
    /// A barrier that some threads of the block cannot reach.
    Barrier,
    /// A warp-wide operation whose mask names lanes that do not take part.
    Mask,
    /// The kernel executed `trap`.
    Trap,
    /// The kernel executed `brkpt`.
    Breakpoint,
    /// A call deeper than the stack.
    StackOverflow,
    /// A jump through an index or address that names no target.
    Jump,
    /// The launch executed more instructions than [`crate::Limits::instructions`] allows.
    Timeout,
}

/// A stopped launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The kernel's name.
    pub kernel: String,
    /// The line of the instruction in the PTX text, from 1.
    pub line: u32,
    /// The instruction as the text has it.
    pub instruction: String,
    /// `blockIdx` of the thread.
    pub block: [u32; 3],
    /// `threadIdx` of the thread.
    pub thread: [u32; 3],
    /// What happened, with addresses and sizes.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind: _,
            kernel,
            line,
            instruction,
            block: b,
            thread: t,
            message,
        } = self;
        write!(
            f,
            "{message} by thread ({},{},{}) in block ({},{},{}) of kernel {kernel} at PTX line {line}: {instruction}",
            t[0], t[1], t[2], b[0], b[1], b[2]
        )
    }
}

impl std::error::Error for Fault {}
