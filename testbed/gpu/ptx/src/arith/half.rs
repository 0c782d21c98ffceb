//! Half precision, `.f16` and `.bf16`, alone and in pairs (PTX ISA 9.7.4).
//!
//! A sum or product of two halves is exact, or rounds without harm, in single precision, which has more than twice
//! their bits and two; the fused operation is rounded once by [`soft::fma`].

use super::chosen::{Chosen, same};
use super::lane::{Lane, lanes, narrow};
use super::row::Function;
use super::single::pick;
use super::soft::{self, Round};
use crate::ParseError;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;
use half::{bf16, f16};

/// A half format.
trait Half: Lane<Bits = u32> {
    fn wide(self) -> f32;
    fn rounded(value: f32) -> Self;
    fn fused(a: Self, b: Self, c: Self) -> Self;
    fn flush(self) -> Self;
    fn magnitude(bits: u32) -> u32 {
        bits & 0x7fff
    }
}

impl Half for f16 {
    fn wide(self) -> f32 {
        self.to_f32()
    }
    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn fused(a: Self, b: Self, c: Self) -> Self {
        let bits = soft::fma(a.to_f64(), b.to_f64(), c.to_f64(), soft::F16, Round::Nearest);
        Self::from_bits(narrow(u32::try_from(bits).unwrap_or(0)))
    }
    fn flush(self) -> Self {
        flushed(self)
    }
}

impl Half for bf16 {
    fn wide(self) -> f32 {
        self.to_f32()
    }
    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn fused(a: Self, b: Self, c: Self) -> Self {
        let bits = soft::fma(a.to_f64(), b.to_f64(), c.to_f64(), soft::BF16, Round::Nearest);
        Self::from_bits(narrow(u32::try_from(bits).unwrap_or(0)))
    }
    fn flush(self) -> Self {
        self
    }
}

/// Subnormal numbers become zero of their sign.
pub fn flushed(value: f16) -> f16 {
    let bits = value.to_bits();
    f16::from_bits(if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits })
}

/// What an operation on halves is followed by.
#[derive(Clone, Copy)]
struct Mode<const FLUSH: bool, const SATURATE: bool, const RELU: bool>;

impl<const FLUSH: bool, const SATURATE: bool, const RELU: bool> Mode<FLUSH, SATURATE, RELU> {
    fn enter<H: Half>(bits: u32) -> H {
        let value = H::of(bits);
        if FLUSH { value.flush() } else { value }
    }

    fn leave<H: Half>(value: H) -> u32 {
        let value = if FLUSH { value.flush() } else { value };
        let wide = value.wide();
        let value = if SATURATE && !(wide > 0.0) {
            H::rounded(0.0)
        } else if SATURATE && wide > 1.0 {
            H::rounded(1.0)
        } else if RELU && wide <= 0.0 {
            H::rounded(0.0)
        } else {
            value
        };
        value.bits()
    }
}

macro_rules! unary {
    ($h:ty, $packed:expr, $mode:ty, $f:expr) => {{
        type M = $mode;
        if $packed {
            lanes!(W1, |a: u32| M::leave::<$h>($f(M::enter::<$h>(a)))
                | M::leave::<$h>($f(M::enter::<$h>(a >> 16))) << 16)
        } else {
            lanes!(W1, |a: u32| M::leave::<$h>($f(M::enter::<$h>(a))))
        }
    }};
}

macro_rules! binary {
    ($h:ty, $packed:expr, $mode:ty, $f:expr) => {{
        type M = $mode;
        if $packed {
            lanes!(W2, |a: u32, b: u32| M::leave::<$h>($f(
                M::enter::<$h>(a),
                M::enter::<$h>(b)
            )) | M::leave::<$h>($f(
                M::enter::<$h>(a >> 16),
                M::enter::<$h>(b >> 16)
            )) << 16)
        } else {
            lanes!(W2, |a: u32, b: u32| M::leave::<$h>($f(
                M::enter::<$h>(a),
                M::enter::<$h>(b)
            )))
        }
    }};
}

macro_rules! ternary {
    ($h:ty, $packed:expr, $mode:ty, $f:expr) => {{
        type M = $mode;
        if $packed {
            lanes!(W3, |a: u32, b: u32, c: u32| M::leave::<$h>($f(
                M::enter::<$h>(a),
                M::enter::<$h>(b),
                M::enter::<$h>(c)
            )) | M::leave::<$h>($f(
                M::enter::<$h>(a >> 16),
                M::enter::<$h>(b >> 16),
                M::enter::<$h>(c >> 16)
            )) << 16)
        } else {
            lanes!(W3, |a: u32, b: u32, c: u32| M::leave::<$h>($f(
                M::enter::<$h>(a),
                M::enter::<$h>(b),
                M::enter::<$h>(c)
            )))
        }
    }};
}

macro_rules! modes {
    ($kind:ident, $h:ty, $packed:expr, $flush:expr, $saturate:expr, $relu:expr, $f:expr) => {
        match ($flush, $saturate, $relu) {
            (false, false, false) => $kind!($h, $packed, Mode<false, false, false>, $f),
            (true, false, false) => $kind!($h, $packed, Mode<true, false, false>, $f),
            (false, true, _) => $kind!($h, $packed, Mode<false, true, false>, $f),
            (true, true, _) => $kind!($h, $packed, Mode<true, true, false>, $f),
            (false, false, true) => $kind!($h, $packed, Mode<false, false, true>, $f),
            (true, false, true) => $kind!($h, $packed, Mode<true, false, true>, $f),
        }
    };
}

/// What stands before the type of a half instruction.
#[expect(clippy::struct_excessive_bools, reason = "each is one modifier")]
struct Switches {
    flush: bool,
    saturate: bool,
    relu: bool,
    nan: bool,
    xor_sign: bool,
    packed: bool,
}

/// Chooses the function of an instruction on halves.
pub fn choose(name: &str, modifiers: &mut Modifiers<'_>) -> Result<Chosen, ParseError> {
    if modifiers.one_of(&[("rz", ()), ("rm", ()), ("rp", ())]).is_some() {
        return Err(modifiers.refuse("half precision rounds to the nearest alone".to_owned()));
    }
    let rounding = modifiers.flag("rn");
    if name == "fma" && !rounding {
        return Err(modifiers.refuse("`fma` needs .rn".to_owned()));
    }
    if matches!(name, "ex2" | "tanh") && !modifiers.flag("approx") {
        return Err(modifiers.refuse(format!("`{name}` needs .approx")));
    }
    let (flush, saturate, relu) = (
        modifiers.flag("ftz"),
        modifiers.flag("sat"),
        modifiers.flag("relu"),
    );
    let (nan, xor_sign) = (
        modifiers.flag("NaN"),
        modifiers.flag("xorsign") && modifiers.flag("abs"),
    );
    let kind = modifiers.kind()?;
    let packed = matches!(kind, Type::F16x2 | Type::Bf16x2);
    let brain = matches!(kind, Type::Bf16 | Type::Bf16x2);
    if saturate && (brain || !matches!(name, "add" | "sub" | "mul" | "fma"))
        || relu && name != "fma"
        || saturate && relu
    {
        return Err(modifiers.refuse(format!("`{name}` on halves has no such mode")));
    }
    modifiers.need_target(match (brain, name) {
        (true, "add" | "sub" | "mul" | "ex2" | "tanh") => 90,
        (true, _) | (false, "min" | "max") => 80,
        (false, "ex2" | "tanh") => 75,
        (false, _) if relu => 80,
        (false, _) => 53,
    })?;
    let switches = Switches {
        flush,
        saturate,
        relu,
        nan,
        xor_sign,
        packed,
    };
    let (function, operands) = if brain {
        brain_function(name, &switches, modifiers)?
    } else {
        half_function(name, &switches, modifiers)?
    };
    let class = match name {
        "fma" => Class::HalfFused,
        "ex2" | "tanh" => Class::Special,
        _ => Class::Half,
    };
    Ok(same(function, kind, operands, class))
}

macro_rules! functions {
    ($name:ident, $h:ty) => {
        fn $name(name: &str, s: &Switches, modifiers: &Modifiers<'_>) -> Result<(Function, usize), ParseError> {
            let Switches { flush, saturate, relu, nan, xor_sign, packed } = *s;
            let function = match name {
                "add" => modes!(binary, $h, packed, flush, saturate, relu, |a: $h, b: $h| <$h>::rounded(a.wide() + b.wide())),
                "sub" => modes!(binary, $h, packed, flush, saturate, relu, |a: $h, b: $h| <$h>::rounded(a.wide() - b.wide())),
                "mul" => modes!(binary, $h, packed, flush, saturate, relu, |a: $h, b: $h| <$h>::rounded(a.wide() * b.wide())),
                "fma" => modes!(ternary, $h, packed, flush, saturate, relu, |a, b, c| <$h>::fused(a, b, c)),
                "abs" if !packed && !flush => lanes!(W1, |a: u32| a & 0x7fff),
                "abs" if !flush => lanes!(W1, |a: u32| a & 0x7fff_7fff),
                "neg" if !packed && !flush => lanes!(W1, |a: u32| a ^ 0x8000),
                "neg" if !flush => lanes!(W1, |a: u32| a ^ 0x8000_8000),
                "abs" => unary!($h, packed, Mode<true, false, false>, |a: $h| <$h>::of(<$h>::magnitude(a.bits()))),
                "neg" => unary!($h, packed, Mode<true, false, false>, |a: $h| <$h>::of(a.bits() ^ 0x8000)),
                "ex2" => modes!(unary, $h, packed, flush, false, false, |a: $h| <$h>::rounded(
                    libm::exp2(f64::from(a.wide())) as f32
                )),
                "tanh" => unary!($h, packed, Mode<false, false, false>, |a: $h| <$h>::rounded(
                    libm::tanh(f64::from(a.wide())) as f32
                )),
                "min" | "max" if xor_sign => return Ok((xor_signed::<$h>(name == "max", nan, packed), 2)),
                "min" => match nan {
                    false => modes!(binary, $h, packed, flush, false, false, |a: $h, b: $h| <$h>::rounded(pick::<false, false>(a.wide(), b.wide()))),
                    true => modes!(binary, $h, packed, flush, false, false, |a: $h, b: $h| <$h>::rounded(pick::<false, true>(a.wide(), b.wide()))),
                },
                "max" => match nan {
                    false => modes!(binary, $h, packed, flush, false, false, |a: $h, b: $h| <$h>::rounded(pick::<true, false>(a.wide(), b.wide()))),
                    true => modes!(binary, $h, packed, flush, false, false, |a: $h, b: $h| <$h>::rounded(pick::<true, true>(a.wide(), b.wide()))),
                },
                _ => return Err(modifiers.refuse(format!("`{name}` does not exist for halves"))),
            };
            Ok((function, match name { "fma" => 3, "abs" | "neg" | "ex2" | "tanh" => 1, _ => 2 }))
        }
    };
}
functions!(half_function, f16);
functions!(brain_function, bf16);

/// The extreme of the magnitudes, with the product's sign.
fn xor_signed<H: Half>(most: bool, nan: bool, packed: bool) -> Function {
    fn one<H: Half, const MOST: bool, const NAN: bool>(a: u32, b: u32) -> u32 {
        let magnitude = pick::<MOST, NAN>(H::of(H::magnitude(a)).wide(), H::of(H::magnitude(b)).wide());
        let bits = H::rounded(magnitude).bits();
        if magnitude.is_nan() {
            bits
        } else {
            bits | (a ^ b) & 0x8000
        }
    }
    macro_rules! both {
        ($most:literal, $nan:literal) => {
            if packed {
                lanes!(W2, |a: u32, b: u32| one::<H, $most, $nan>(a, b)
                    | one::<H, $most, $nan>(a >> 16, b >> 16) << 16)
            } else {
                lanes!(W2, |a: u32, b: u32| one::<H, $most, $nan>(a, b))
            }
        };
    }
    match (most, nan) {
        (true, false) => both!(true, false),
        (false, false) => both!(false, false),
        (true, true) => both!(true, true),
        (false, true) => both!(false, true),
    }
}
