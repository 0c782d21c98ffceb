//! From the tree to programs: names become rows, addresses and places; instructions become operations.
//!
//! Each kernel is decoded together with the functions it can reach, so that the addresses of its shared variables are
//! known: they depend on which of them it uses.

mod address;
mod atomic;
mod compare;
mod constant;
mod control;
mod declaration;
mod function;
mod instruction;
mod matrix;
mod memory;
mod moves;
mod operand;
mod reach;
mod scope;
mod special;
mod unit;
mod warp;

use crate::ParseError;
use crate::parse::tree::Function;
use crate::program::Program;

use function::Decoder;
pub use unit::Unit;

/// Decodes a kernel.
pub fn kernel<'m, 'a>(unit: &Unit<'m, 'a>, kernel: &'m Function<'a>) -> Result<Program, ParseError> {
    let reached = reach::reach(unit, kernel)?;
    let mut decoder = Decoder::new(unit, &reached)?;
    for (number, &at) in reached.functions.iter().enumerate() {
        decoder.function(number, &unit.tree.functions[at])?;
    }
    Ok(decoder.finish())
}
