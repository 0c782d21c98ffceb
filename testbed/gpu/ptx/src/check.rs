//! The checkers' records, apart from those that memory keeps itself.

pub mod order;
pub mod shared;
