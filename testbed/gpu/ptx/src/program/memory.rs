//! Accesses to memory: loads, stores, atomic operations and copies.

use super::operand::{Address, AddressSpace, Predicate, Register, Row};

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
    /// The registers; [`Register::W`] of [`NONE`](super::operand::NONE) for `_`.
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
