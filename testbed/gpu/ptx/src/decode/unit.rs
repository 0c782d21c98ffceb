//! A module while its kernels are decoded.

use std::collections::HashMap;

use crate::parse::tree::Tree;
use crate::{ParseError, ParseErrorKind};

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
}
