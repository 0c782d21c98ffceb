//! The modes of `cvt`.

use super::soft::Round;

/// The modes of a conversion.
#[derive(Clone, Copy, Debug)]
pub struct Modes {
    /// `.rn` and its kin.
    pub round: Option<Round>,
    /// `.rni` and its kin: to an integer.
    pub whole: Option<Round>,
    /// `.ftz`
    pub flush: bool,
    /// `.sat`
    pub saturate: bool,
    /// `.relu`
    pub relu: bool,
}
