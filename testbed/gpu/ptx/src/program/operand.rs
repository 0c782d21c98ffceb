//! Registers, addresses and special registers, as operations name them.

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
