//! What arithmetic an instruction was found to be.

use super::row::Function;
use crate::counters::Class;
use crate::parse::tree::Type;

/// A function that was chosen for an instruction, and the types of its result and operands.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What computes it.
    pub function: Function,
    /// The result's type, then the operands'.
    pub types: Vec<Type>,
    /// What it counts as.
    pub class: Class,
}

/// An instruction whose result and operands have one type.
pub fn same(function: Function, kind: Type, operands: usize, class: Class) -> Chosen {
    Chosen {
        function,
        types: vec![kind; operands + 1],
        class,
    }
}
