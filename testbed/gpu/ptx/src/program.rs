//! Kernels in the compact form that is executed.
//!
//! Registers lie in three banks: predicates (a mask of lanes each), narrow rows (32 lanes of 32 bits) and wide rows
//! (32 lanes of 64). Immediates and addresses of variables are rows of a pool that all warps share.

use crate::arith::{Combine, Compare, FloatTest, Function};
use crate::counters::Class;

/// A register's row in the bank that its instruction implies; with [`POOL`] set, a row of the constants' pool.
pub type Row = u32;
/// Marks a row of the pool.
pub const POOL: u32 = 1 << 31;
/// A missing register.
pub const NONE: u32 = u32::MAX;
/// The first of the values that stand for functions in registers: 16 apart, in the order of the module.
pub const FUNCTION_BASE: u64 = 0x7b00_0000_0000;

/// A register of any bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// A predicate.
    P(Row),
    /// A register of up to 32 bits.
    W(Row),
    /// A register of 64 bits.
    D(Row),
}

/// A predicate as operand, perhaps negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predicate {
    /// Its row in the bank of predicates.
    pub row: Row,
    /// Its lanes are turned around.
    pub negated: bool,
}

/// A state space as an access names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSpace {
    Generic,
    Global,
    Shared,
    Local,
    Const,
    Param,
}

/// What an address begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing: the offset is the address.
    Zero,
    /// A narrow register.
    W(Row),
    /// A wide register.
    D(Row),
    /// The local memory of the function's frame.
    Frame,
}

/// An address.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// What it begins with.
    pub base: Base,
    /// Bytes beyond it.
    pub offset: i64,
}

/// A load or store.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Where.
    pub space: AddressSpace,
    /// The address.
    pub address: Address,
    /// Bytes of one element: 1, 2, 4 or 8.
    pub size: u8,
    /// Elements: 1, 2 or 4.
    pub count: u8,
    /// A loaded element is extended by its sign.
    pub signed: bool,
    /// The registers; [`Register::W`] of [`NONE`] for `_`.
    pub registers: [Register; 4],
}

/// What an atomic operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOperation {
    And,
    Or,
    Xor,
    Exchange,
    CompareExchange,
    Add,
    Increment,
    Decrement,
    Least,
    Most,
}

/// The type of an atomic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicType {
    B16,
    U32,
    S32,
    U64,
    S64,
    F32,
    F64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
}

/// An atomic operation.
#[derive(Clone, Copy, Debug)]
pub struct Atomic {
    /// What it does.
    pub operation: AtomicOperation,
    /// On what.
    pub kind: AtomicType,
    /// Where.
    pub space: AddressSpace,
    /// The address.
    pub address: Address,
    /// Where the old value goes; none for `red`.
    pub result: Option<Register>,
    /// The operand.
    pub operand: Register,
    /// The second operand of a compare-and-swap.
    pub swap: Option<Register>,
}

/// Barriers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierKind {
    /// Wait.
    Sync,
    /// Arrive without waiting.
    Arrive,
    /// Wait, and count the predicates.
    Count,
    /// Wait, and join the predicates with and.
    All,
    /// Wait, and join the predicates with or.
    Any,
}

/// A barrier of a block.
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    /// What kind.
    pub kind: BarrierKind,
    /// Which of the 16: a narrow register.
    pub number: Row,
    /// How many threads take part: a narrow register; all of the block without it.
    pub threads: Option<Row>,
    /// All threads of a warp must execute the same barrier.
    pub aligned: bool,
    /// What a reduction joins.
    pub operand: Option<Predicate>,
    /// Where its result goes.
    pub result: Option<Register>,
}

/// How a shuffle picks the lane it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// A shuffle.
#[derive(Clone, Copy, Debug)]
pub struct Shuffle {
    /// How the lane is picked.
    pub mode: ShuffleMode,
    /// Where the value goes.
    pub result: Row,
    /// Where it goes whether the lane was in range.
    pub in_range: Option<Row>,
    /// What is read.
    pub value: Row,
    /// The lane or distance.
    pub lane: Row,
    /// Clamp and segment.
    pub clamp: Row,
}

/// What the lanes of a warp do together.
#[derive(Clone, Debug)]
pub enum Collective {
    /// `bar.warp.sync`
    Sync,
    /// `shfl.sync`
    Shuffle(Shuffle),
    /// `vote.sync.all`, `.any`, `.uni`: the predicate's row that gets the result.
    All(Row, Predicate),
    /// See [`Self::All`].
    Any(Row, Predicate),
    /// See [`Self::All`].
    Uniform(Row, Predicate),
    /// `vote.sync.ballot`
    Ballot(Row, Predicate),
    /// `match.any.sync`
    MatchAny(Row, Register),
    /// `match.all.sync`, and where it goes whether all were equal.
    MatchAll(Row, Option<Row>, Register),
    /// `redux.sync`
    Reduce(Reduce, Row, Row),
    /// `elect.sync`: the leader's number, and the predicate of being it.
    Elect(Row, Row),
}

/// What `redux.sync` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    Add,
    LeastU32,
    MostU32,
    LeastS32,
    MostS32,
    And,
    Or,
    Xor,
}

/// Elements of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    S4,
    U4,
    S8,
    U8,
    F16,
    Bf16,
    Tf32,
    F32,
    F64,
    S32,
}

/// `mma.sync`: D = A · B + C over the fragments of a warp.
#[derive(Clone, Debug)]
pub struct MatrixProduct {
    /// Rows, columns and depth.
    pub shape: (usize, usize, usize),
    /// Elements of A and B.
    pub inputs: (Element, Element),
    /// Elements of D.
    pub output: Element,
    /// Elements of C.
    pub sum: Element,
    /// `.satfinite`
    pub saturate: bool,
    /// Registers of D, A, B and C.
    pub registers: [Vec<Register>; 4],
}

/// `ldmatrix` and `stmatrix`.
#[derive(Clone, Debug)]
pub struct MatrixMove {
    /// Reads; writes otherwise.
    pub load: bool,
    /// `.trans`
    pub transposed: bool,
    /// The space of the addresses: shared or generic.
    pub space: AddressSpace,
    /// The address.
    pub address: Address,
    /// One register a matrix.
    pub registers: Vec<Row>,
}

/// `cp.async`
#[derive(Clone, Copy, Debug)]
pub struct AsyncCopy {
    /// Where in shared memory.
    pub to: Address,
    /// From where in global memory.
    pub from: Address,
    /// Bytes: 4, 8 or 16.
    pub size: u8,
    /// How many of them are read, the rest being zero: a narrow register.
    pub source: Option<Row>,
    /// A predicate under which nothing is read.
    pub ignore: Option<Predicate>,
}

/// A special register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    Laneid,
    Warpid,
    Nwarpid,
    Smid,
    Nsmid,
    Gridid,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    Clock,
    ClockHi,
    Globaltimer,
    GlobaltimerLo,
    GlobaltimerHi,
    DynamicSharedSize,
    TotalSharedSize,
    Zero,
    One,
}

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
    /// Several registers into one: element size in bits.
    Pack { to: Register, from: [Row; 4], bits: u8 },
    /// One register into several; [`NONE`] for `_`.
    Unpack { to: [Row; 4], from: Register, bits: u8 },
    /// Two wide registers from or to narrow halves are packed and unpacked with 32 bits; see [`Self::Pack`].
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
