//! The modifiers of an instruction: each must be asked for by the instruction's decoder, or it is refused.

use crate::parse::tree::Type;
use crate::{ParseError, ParseErrorKind};

/// Modifiers of one instruction, taken one after the other.
#[derive(Debug)]
pub struct Modifiers<'a> {
    instruction: &'a str,
    line: u32,
    target: u32,
    names: Vec<&'a str>,
}

impl<'a> Modifiers<'a> {
    /// The modifiers of an instruction, in a module for `sm_<target>`.
    pub fn new(instruction: &'a str, names: &[&'a str], line: u32, target: u32) -> Self {
        Self {
            instruction,
            line,
            target,
            names: names.to_vec(),
        }
    }

    /// The instruction's line.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Takes a modifier if it is there.
    pub fn flag(&mut self, name: &str) -> bool {
        let found = self.names.iter().position(|&modifier| modifier == name);
        if let Some(at) = found {
            self.names.remove(at);
        }
        found.is_some()
    }

    /// Takes the first of these that is there.
    pub fn one_of<T: Copy>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        choices
            .iter()
            .find(|(name, _)| self.flag(name))
            .map(|&(_, value)| value)
    }

    /// Takes the first of these that is there, which must be.
    pub fn required<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, ParseError> {
        self.one_of(choices).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!(".{name}")).collect();
            self.refuse(format!(
                "`{}` needs one of {}",
                self.instruction,
                names.join(", ")
            ))
        })
    }

    /// Takes the next type, which must be there.
    pub fn kind(&mut self) -> Result<Type, ParseError> {
        self.optional_kind()
            .ok_or_else(|| self.refuse(format!("`{}` needs a type", self.instruction)))
    }

    /// Takes the next type if there is one.
    pub fn optional_kind(&mut self) -> Option<Type> {
        let at = self.names.iter().position(|name| Type::named(name).is_some())?;
        Type::named(self.names.remove(at))
    }

    /// The next type, left in place.
    pub fn peek_kind(&self) -> Option<Type> {
        self.names.iter().find_map(|name| Type::named(name))
    }

    /// Takes the first modifier that this function knows.
    pub fn find<T>(&mut self, known: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, value) = self
            .names
            .iter()
            .enumerate()
            .find_map(|(at, name)| known(name).map(|value| (at, value)))?;
        self.names.remove(at);
        Some(value)
    }

    /// Refuses what nobody asked for.
    pub fn finish(&self) -> Result<(), ParseError> {
        match self.names.first() {
            None => Ok(()),
            Some(name) => Err(self.refuse(format!("unknown modifier `.{name}` of `{}`", self.instruction))),
        }
    }

    /// The refusal of this type.
    pub fn bad_type(&self, kind: Type) -> ParseError {
        self.refuse(format!(
            "`{}` does not exist for type .{}",
            self.instruction,
            format!("{kind:?}").to_lowercase()
        ))
    }

    /// Refuses the instruction in modules for cards older than `sm_<least>`.
    pub fn need_target(&self, least: u32) -> Result<(), ParseError> {
        if self.target >= least {
            return Ok(());
        }
        let message = format!(
            "`{}` as used here needs .target sm_{least} or newer, the module names sm_{}",
            self.instruction, self.target
        );
        Err(ParseError::new(
            ParseErrorKind::UnsupportedTarget,
            self.line,
            message,
        ))
    }

    /// A refusal of a modifier.
    pub fn refuse(&self, message: String) -> ParseError {
        ParseError::new(ParseErrorKind::UnknownModifier, self.line, message)
    }
}
