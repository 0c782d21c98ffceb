//! Directives that stand where nothing takes them.

use crate::{ParseError, ParseErrorKind};

/// The refusal of a directive: ones that PTX has and this machine has not, and all others.
pub fn unknown_directive(name: &str, line: u32) -> ParseError {
    let known = matches!(
        name,
        "tex" | "texref" | "samplerref" | "surfref" | "alias" | "sreg"
    );
    let (kind, message) = if known {
        (
            ParseErrorKind::NotImplemented,
            format!("directive `.{name}` is not implemented"),
        )
    } else {
        (
            ParseErrorKind::UnknownDirective,
            format!("unknown directive `.{name}`"),
        )
    };
    ParseError::new(kind, line, message)
}
