//! Operations.

use super::call::Call;
use super::memory::{Access, AsyncCopy, Atomic, MatrixMove};
use super::operand::{AddressSpace, Predicate, Register, Row, Special};
use super::warp::{Barrier, Collective, MatrixProduct};
use crate::arith::{Combine, Compare, FloatTest, Function};

/// What a sum with carry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarryKind {
    Add,
    Subtract,
    MultiplyLow,
    MultiplyHigh,
}

/// A sum that reads or writes the carry.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one modifier")]
pub struct Carry {
    /// What it does.
    pub kind: CarryKind,
    /// 64 bits instead of 32.
    pub wide: bool,
    /// The product is of signed numbers.
    pub signed: bool,
    /// Reads the carry.
    pub uses: bool,
    /// Writes the carry.
    pub sets: bool,
    /// The result.
    pub to: Row,
    /// The operands.
    pub operands: [Row; 3],
}

/// A comparison with everything that `setp` and `set` hang on it.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// What compares.
    pub compare: Compare,
    /// The operands.
    pub operands: [Row; 2],
    /// The predicate that the result is joined with.
    pub combine: Option<(Combine, Predicate)>,
}

/// An operation.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Arithmetic from rows to a row.
    Arithmetic {
        function: Function,
        to: Row,
        from: [Row; 4],
    },
    /// Copies a register with what is known of it: a copy of one never written is as good as that one.
    Move { to: Register, from: Register },
    /// Logic on predicates; `to = a ∘ b`.
    Logic {
        combine: Combine,
        to: Row,
        a: Predicate,
        b: Predicate,
    },
    /// A predicate from a constant or another predicate.
    MovePredicate { to: Row, from: Predicate },
    /// A constant predicate.
    SetPredicate { to: Row, value: bool },
    /// `setp`: the result, and its complement.
    Compare {
        comparison: Box<Comparison>,
        to: Row,
        complement: Option<Row>,
        packed: bool,
    },
    /// `set`: a value where it holds, zero elsewhere.
    CompareValue {
        comparison: Box<Comparison>,
        to: Row,
        value: u32,
        packed: bool,
    },
    /// `testp`
    Test {
        to: Row,
        from: Register,
        test: FloatTest,
    },
    /// `selp`
    Select {
        to: Register,
        a: Row,
        b: Row,
        predicate: Predicate,
    },
    /// `slct`: a where the third operand is not negative.
    SelectSign {
        to: Register,
        a: Row,
        b: Row,
        sign: Row,
        float: bool,
    },
    /// `lop3` with its table, and the predicate of a result other than zero.
    Logic3 {
        to: Row,
        from: [Row; 3],
        table: u8,
        or: Option<(Row, Combine, Predicate)>,
    },
    /// Sums with carry.
    Carry(Box<Carry>),
    /// Reads a special register.
    Special { to: Register, which: Special },
    /// Several narrow registers into one: element size in bits.
    Pack { to: Register, from: [Row; 4], bits: u8 },
    /// One register into several; [`NONE`](super::operand::NONE) for `_`.
    Unpack { to: [Row; 4], from: Register, bits: u8 },
    /// The address of these many bytes into the function's frame.
    FrameAddress { to: Register, offset: u32 },
    /// A load.
    Load(Box<Access>),
    /// A store.
    Store(Box<Access>),
    /// An atomic operation.
    Atomic(Box<Atomic>),
    /// Converts an address to a generic one, or back.
    ConvertAddress {
        to: Register,
        from: Register,
        space: AddressSpace,
        to_space: bool,
    },
    /// `isspacep`
    IsSpace {
        to: Row,
        from: Register,
        space: AddressSpace,
    },
    /// A jump.
    Branch { target: u32 },
    /// A jump through a table.
    BranchIndex { index: Row, targets: Box<[u32]> },
    /// A call of the function with this number in the program.
    Call(Box<Call>),
    /// Back to the caller, or the end of the thread.
    Return,
    /// The end of the thread.
    Exit,
    /// `trap`
    Trap,
    /// `brkpt`
    Breakpoint,
    /// A barrier of the block.
    Barrier(Box<Barrier>),
    /// Lanes act together: the mask, and what they do.
    Collective { mask: Row, collective: Box<Collective> },
    /// `activemask`
    ActiveMask { to: Row },
    /// `mma`
    MatrixProduct(Box<MatrixProduct>),
    /// `ldmatrix` and `stmatrix`
    MatrixMove(Box<MatrixMove>),
    /// `movmatrix`
    MatrixTranspose { to: Row, from: Row },
    /// `cp.async`
    AsyncCopy(Box<AsyncCopy>),
    /// `cp.async.commit_group`
    AsyncCommit,
    /// `cp.async.wait_group`: how many may still be under way; none for `wait_all`.
    AsyncWait { left: Option<u32> },
    /// `membar` and `fence`: nothing to do, for each block runs in order.
    Fence,
    /// `prefetch`, `nanosleep` and the like.
    Nothing,
}
