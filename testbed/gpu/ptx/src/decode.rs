//! From the tree to programs: names become rows, addresses and places; instructions become operations.
//!
//! Each kernel is decoded together with the functions it can reach, so that the addresses of its shared variables are
//! known: they depend on which of them it uses.

mod atomic;
mod compare;
mod control;
mod function;
mod instruction;
mod matrix;
mod memory;
mod moves;
mod operand;
mod reach;
mod scope;
mod warp;

use std::collections::HashMap;

use crate::parse::tree::{Function, Tree};
use crate::program::Program;
use crate::{ParseError, ParseErrorKind};

pub(crate) use function::Decoder;

/// What all kernels of a module share while they are decoded.
pub struct Unit<'m, 'a> {
    /// The tree.
    pub tree: &'m Tree<'a>,
    /// Functions by name: their place in the tree. A definition goes before a declaration.
    pub functions: HashMap<&'a str, usize>,
    /// Variables of `.global` and `.const` at module scope: their place in [`crate::Module::globals`].
    pub globals: HashMap<&'a str, u32>,
}

impl<'m, 'a> Unit<'m, 'a> {
    /// Indexes a tree; `globals` are the names of its variables in order.
    pub fn new(tree: &'m Tree<'a>, globals: HashMap<&'a str, u32>) -> Result<Self, ParseError> {
        let mut functions: HashMap<&str, usize> = HashMap::new();
        for (at, function) in tree.functions.iter().enumerate() {
            match functions.get(function.name) {
                Some(&before) if tree.functions[before].body.is_some() && function.body.is_some() => {
                    let message = format!("function `{}` is defined twice", function.name);
                    return Err(ParseError::new(
                        ParseErrorKind::Redefinition,
                        function.line,
                        message,
                    ));
                }
                Some(&before) if tree.functions[before].body.is_some() => {}
                _ => drop(functions.insert(function.name, at)),
            }
        }
        Ok(Self {
            tree,
            functions,
            globals,
        })
    }

    /// Decodes a kernel.
    pub fn kernel(&self, kernel: &'m Function<'a>) -> Result<Program, ParseError> {
        let reached = reach::reach(self, kernel)?;
        let mut decoder = Decoder::new(self, &reached)?;
        for (number, &at) in reached.functions.iter().enumerate() {
            decoder.function(number, &self.tree.functions[at])?;
        }
        Ok(decoder.finish())
    }
}
