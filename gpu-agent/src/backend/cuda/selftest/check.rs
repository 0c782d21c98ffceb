//! What a check found.

use serde::Serialize;

/// One kernel on one shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The kernel, as its module names it.
    pub kernel: String,
    /// The module.
    pub module: String,
    /// On what.
    pub shape: String,
    /// How the card's result differs from the twin's; nothing where all bits are equal.
    pub difference: Option<String>,
}
