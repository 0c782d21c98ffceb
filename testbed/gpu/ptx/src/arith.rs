//! Arithmetic over the 32 lanes of a warp: for each instruction, type and mode a function from rows to a row.
//!
//! A register is a row: 32 lanes of 32 bits, or of 64. All lanes are computed, which lets the compiler use vectors; the
//! executor keeps those that take part. So no function here may panic, whatever stands in a lane.

mod bits;
mod compare;
mod convert;
mod convert_float;
mod float;
mod float_unary;
mod half;
mod integer;
mod lane;
pub(crate) mod soft;
mod video;

pub(crate) use compare::{Combine, Compare, Relation, compare as compare_function, high_halves};
pub(crate) use lane::{Lane, narrow};

use crate::ParseError;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;

/// 32 lanes of 32 bits. Values of 16 and 8 bits lie in the low bits; what stands above them has no meaning.
pub type Narrow = [u32; 32];
/// 32 lanes of 64 bits.
pub type Wide = [u64; 32];

/// Declares the shapes that arithmetic functions have: from which rows to which row.
macro_rules! shapes {
    ($($name:ident: $to:ty, [$($from:ty),+];)*) => {
        /// A function over rows, by its shape.
        #[derive(Clone, Copy, Debug)]
        #[expect(clippy::upper_case_acronyms, reason = "each name spells its shape: the result, then the operands")]
        pub enum Function { $( $name(fn(&mut $to, $(&$from),+)), )* }
    };
}

shapes! {
    W1: Narrow, [Narrow];
    W2: Narrow, [Narrow, Narrow];
    W3: Narrow, [Narrow, Narrow, Narrow];
    W4: Narrow, [Narrow, Narrow, Narrow, Narrow];
    WD: Narrow, [Wide];
    D1: Wide, [Wide];
    D2: Wide, [Wide, Wide];
    D3: Wide, [Wide, Wide, Wide];
    DW: Wide, [Narrow];
    DWW: Wide, [Narrow, Narrow];
    DWWD: Wide, [Narrow, Narrow, Wide];
    DDW: Wide, [Wide, Narrow];
    DDWW: Wide, [Wide, Narrow, Narrow];
    DDDWW: Wide, [Wide, Wide, Narrow, Narrow];
}

/// A function that was chosen for an instruction, and the types of its result and operands.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What computes it.
    pub function: Function,
    /// The result's type, then the operands'.
    pub types: Vec<Type>,
    /// What it counts as.
    pub class: crate::counters::Class,
}

/// Finds the function of an arithmetic instruction; none when the name is not one of arithmetic.
pub fn choose(
    name: &str,
    modifiers: &mut Modifiers<'_>,
    operands: usize,
) -> Result<Option<Chosen>, ParseError> {
    for family in [
        integer::choose,
        bits::choose,
        float::choose,
        float_unary::choose,
        video::choose,
    ] {
        if let Some(found) = family(name, modifiers)? {
            return Ok(Some(found));
        }
    }
    if name == "cvt" {
        convert::choose(modifiers, operands).map(Some)
    } else {
        Ok(None)
    }
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
use instantiate;
