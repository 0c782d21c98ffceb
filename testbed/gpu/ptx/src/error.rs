//! Why a PTX text was refused.

/// What kind of refusal it is; a driver's error code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The text is not PTX: a token stands where the grammar has no place for it.
    Syntax,
    /// `.version` is newer than 8.0.
    UnsupportedVersion,
    /// `.target` is newer than the device, or an instruction needs a newer `.target` than the module names.
    UnsupportedTarget,
    /// No instruction of PTX 8.0 has this name.
    UnknownInstruction,
    /// The instruction exists, but not with this modifier, type or shape.
    UnknownModifier,
    /// No directive of PTX 8.0 has this name.
    UnknownDirective,
    /// A name is used that nothing declares, or an external function has no body in the module.
    UndefinedSymbol,
    /// A name is declared twice in one scope.
    Redefinition,
    /// An operand does not fit its instruction: wrong number, wrong kind, or a register of another width.
    Operand,
    /// PTX 8.0 has it, this machine has not.
    NotImplemented,
    /// A size or count is beyond what a card accepts.
    TooLarge,
}

/// A refusal, with the line and the token it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {message}")]
pub struct ParseError {
    /// The kind of refusal.
    pub kind: ParseErrorKind,
    /// The line in the text, from 1.
    pub line: u32,
    /// What stands there and what was expected.
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(kind: ParseErrorKind, line: u32, message: impl Into<String>) -> Self {
        Self {
            kind,
            line,
            message: message.into(),
        }
    }
}
