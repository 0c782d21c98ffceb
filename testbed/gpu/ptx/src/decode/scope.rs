//! Names and what they stand for, scope by scope.

use std::collections::HashMap;

use crate::parse::tree::{Statement, Type};
use crate::program::Register;
use crate::{ParseError, ParseErrorKind};

/// What a name stands for in a body.
#[derive(Clone, Copy, Debug)]
pub enum Symbol {
    /// A register and its declared type.
    Register(Register, Type),
    /// Bytes of the frame: a local variable, or a parameter that passes through a call.
    Frame { offset: u32, size: u32 },
    /// A shared variable.
    Shared(u32),
    /// A parameter of the kernel.
    Parameter(u32),
}

/// The names of one pair of braces.
#[derive(Debug, Default)]
pub struct Scope<'a> {
    /// Names that stand for something.
    pub names: HashMap<&'a str, Symbol>,
    /// Numbered registers: the name before the number, how many, the type.
    pub ranges: Vec<(&'a str, u64, Type)>,
    /// Labels, by number.
    pub labels: HashMap<&'a str, usize>,
    /// Tables of targets for `brx.idx`.
    pub tables: HashMap<&'a str, Vec<&'a str>>,
}

impl Scope<'_> {
    /// The type of a numbered register of this scope.
    pub fn numbered(&self, name: &str) -> Option<Type> {
        self.ranges.iter().find_map(|&(prefix, count, kind)| {
            let digits = name.strip_prefix(prefix)?;
            let canonical = digits == "0" || !digits.starts_with('0');
            let number: u64 = if canonical && digits.bytes().all(|b| b.is_ascii_digit()) {
                digits.parse().ok()?
            } else {
                return None;
            };
            (number < count).then_some(kind)
        })
    }
}

/// The labels and tables of each scope of a body, in the order in which the scopes open; and how many labels there are.
pub fn labels<'a>(body: &[Statement<'a>]) -> Result<(Vec<Scope<'a>>, usize), ParseError> {
    let (mut scopes, mut open, mut count) = (vec![Scope::default()], vec![0], 0);
    for statement in body {
        let current = open.last().copied().unwrap_or(0);
        match statement {
            Statement::Open => {
                open.push(scopes.len());
                scopes.push(Scope::default());
            }
            Statement::Close => drop(open.pop()),
            Statement::Label(name, line) => {
                if scopes[current].labels.insert(name, count).is_some() {
                    let message = format!("label `{name}` is defined twice");
                    return Err(ParseError::new(ParseErrorKind::Redefinition, *line, message));
                }
                count += 1;
            }
            Statement::Targets(name, targets) => drop(scopes[current].tables.insert(name, targets.clone())),
            _ => {}
        }
    }
    Ok((scopes, count))
}
