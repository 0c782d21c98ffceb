//! Rounding modes, as an instruction names them and as code is instantiated for them.

use super::soft::Round;
use crate::modifiers::Modifiers;

const ROUNDINGS: [(&str, Round); 4] = [
    ("rn", Round::Nearest),
    ("rz", Round::Zero),
    ("rm", Round::Down),
    ("rp", Round::Up),
];

/// Takes a rounding mode if there is one.
pub fn rounding(modifiers: &mut Modifiers<'_>) -> Option<Round> {
    modifiers.one_of(&ROUNDINGS)
}

/// Chooses the instantiation for a rounding mode and two switches.
macro_rules! instantiate {
    ($function:ident, $round:expr, $first:expr, $second:expr) => {{
        use crate::arith::soft::Round;
        macro_rules! switched {
            ($r:literal) => {
                match ($first, $second) {
                    (false, false) => $function::<$r, false, false>,
                    (true, false) => $function::<$r, true, false>,
                    (false, true) => $function::<$r, false, true>,
                    (true, true) => $function::<$r, true, true>,
                }
            };
        }
        match $round {
            Round::Nearest => switched!(0),
            Round::Zero => switched!(1),
            Round::Down => switched!(2),
            Round::Up => switched!(3),
        }
    }};
}
pub(super) use instantiate;
