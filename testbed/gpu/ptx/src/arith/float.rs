//! Sums, products and quotients in floating point (PTX ISA 9.7.3 and 9.7.4).

use super::chosen::{Chosen, same};
use super::half;
use super::lane::{Lane, lanes};
use super::rounding::{instantiate, rounding};
use super::row::{Function, Narrow};
use super::single::{finish, flush_if, rounded};
use super::soft::{self, CANONICAL_NAN, Round};
use crate::ParseError;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::Type;

/// Finds the function of an instruction of this family.
pub fn choose(name: &str, modifiers: &mut Modifiers<'_>) -> Result<Option<Chosen>, ParseError> {
    let Some(kind) = modifiers.peek_kind().filter(|kind| kind.is_float()) else {
        return Ok(None);
    };
    if !matches!(name, "add" | "sub" | "mul" | "fma" | "mad" | "div") {
        return Ok(None);
    }
    if matches!(kind, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2) {
        return half::choose(name, modifiers).map(Some);
    }
    let approximate = name == "div" && (modifiers.flag("approx") || modifiers.flag("full"));
    let round = rounding(modifiers);
    let (flush, saturate) = (modifiers.flag("ftz"), modifiers.flag("sat"));
    modifiers.kind()?;
    if round.is_none() && !approximate && matches!(name, "fma" | "mad" | "div") {
        return Err(modifiers.refuse(format!("`{name}` needs a rounding mode such as .rn")));
    }
    let round = round.unwrap_or(Round::Nearest);
    let chosen = match kind {
        Type::F32 => single(name, round, flush, saturate),
        Type::F64 if flush || saturate || approximate => {
            return Err(modifiers.refuse(format!("`{name}.f64` has no such mode")));
        }
        Type::F64 => double(name, round),
        other => return Err(modifiers.bad_type(other)),
    };
    Ok(Some(chosen))
}

fn add32<const R: u8, const F: bool, const S: bool>(to: &mut Narrow, x: &Narrow, y: &Narrow) {
    for i in 0..32 {
        let (a, b) = (flush_if::<F>(f32::of(x[i])), flush_if::<F>(f32::of(y[i])));
        let sum = if R == 0 {
            a + b
        } else {
            rounded(soft::fma(a.into(), 1.0, b.into(), soft::F32, Round::of(R)))
        };
        to[i] = finish::<F, S>(sum).bits();
    }
}

fn sub32<const R: u8, const F: bool, const S: bool>(to: &mut Narrow, x: &Narrow, y: &Narrow) {
    for i in 0..32 {
        let (a, b) = (flush_if::<F>(f32::of(x[i])), flush_if::<F>(f32::of(y[i])));
        let sum = if R == 0 {
            a - b
        } else {
            rounded(soft::fma(a.into(), 1.0, (-b).into(), soft::F32, Round::of(R)))
        };
        to[i] = finish::<F, S>(sum).bits();
    }
}

fn mul32<const R: u8, const F: bool, const S: bool>(to: &mut Narrow, x: &Narrow, y: &Narrow) {
    for i in 0..32 {
        let (a, b) = (flush_if::<F>(f32::of(x[i])), flush_if::<F>(f32::of(y[i])));
        // A product of two significands of 24 bits is exact in double precision.
        let product = if R == 0 {
            a * b
        } else {
            rounded(soft::convert(
                f64::from(a) * f64::from(b),
                soft::F32,
                Round::of(R),
            ))
        };
        to[i] = finish::<F, S>(product).bits();
    }
}

fn fma32<const R: u8, const F: bool, const S: bool>(to: &mut Narrow, x: &Narrow, y: &Narrow, z: &Narrow) {
    for i in 0..32 {
        let (a, b, c) = (
            flush_if::<F>(f32::of(x[i])),
            flush_if::<F>(f32::of(y[i])),
            flush_if::<F>(f32::of(z[i])),
        );
        let sum = if R == 0 {
            a.mul_add(b, c)
        } else {
            rounded(soft::fma(a.into(), b.into(), c.into(), soft::F32, Round::of(R)))
        };
        to[i] = finish::<F, S>(sum).bits();
    }
}

fn div32<const R: u8, const F: bool, const S: bool>(to: &mut Narrow, x: &Narrow, y: &Narrow) {
    for i in 0..32 {
        let (a, b) = (flush_if::<F>(f32::of(x[i])), flush_if::<F>(f32::of(y[i])));
        let quotient = if R == 0 {
            a / b
        } else {
            rounded(soft::divide(a.into(), b.into(), soft::F32, Round::of(R)))
        };
        to[i] = finish::<F, S>(quotient).bits();
    }
}

fn single(name: &str, round: Round, flush: bool, saturate: bool) -> Chosen {
    let (function, operands, class) = match name {
        "add" => (
            Function::W2(instantiate!(add32, round, flush, saturate)),
            2,
            Class::Single,
        ),
        "sub" => (
            Function::W2(instantiate!(sub32, round, flush, saturate)),
            2,
            Class::Single,
        ),
        "mul" => (
            Function::W2(instantiate!(mul32, round, flush, saturate)),
            2,
            Class::Single,
        ),
        "div" => (
            Function::W2(instantiate!(div32, round, flush, saturate)),
            2,
            Class::Divide,
        ),
        _ if (round, flush, saturate) == (Round::Nearest, false, false) => {
            (Function::W3(fused::single()), 3, Class::Fused)
        }
        _ => (
            Function::W3(instantiate!(fma32, round, flush, saturate)),
            3,
            Class::Fused,
        ),
    };
    same(function, Type::F32, operands, class)
}

fn double(name: &str, round: Round) -> Chosen {
    macro_rules! directed {
        ($round:expr) => {
            match name {
                "add" => lanes!(D2, |a: f64, b: f64| f64::from_bits(soft::fma(
                    a,
                    1.0,
                    b,
                    soft::F64,
                    $round
                ))),
                "sub" => lanes!(D2, |a: f64, b: f64| f64::from_bits(soft::fma(
                    a,
                    1.0,
                    -b,
                    soft::F64,
                    $round
                ))),
                "mul" => lanes!(D2, |a: f64, b: f64| f64::from_bits(product64(a, b, $round))),
                "div" => lanes!(D2, |a: f64, b: f64| f64::from_bits(soft::divide(
                    a,
                    b,
                    soft::F64,
                    $round
                ))),
                _ => lanes!(D3, |a: f64, b: f64, c: f64| f64::from_bits(soft::fma(
                    a,
                    b,
                    c,
                    soft::F64,
                    $round
                ))),
            }
        };
    }
    let function = match (round, name) {
        (Round::Nearest, "add") => lanes!(D2, |a: f64, b: f64| a + b),
        (Round::Nearest, "sub") => lanes!(D2, |a: f64, b: f64| a - b),
        (Round::Nearest, "mul") => lanes!(D2, |a: f64, b: f64| a * b),
        (Round::Nearest, "div") => lanes!(D2, |a: f64, b: f64| a / b),
        (Round::Nearest, _) => lanes!(D3, |a: f64, b: f64, c: f64| a.mul_add(b, c)),
        (Round::Zero, _) => directed!(Round::Zero),
        (Round::Down, _) => directed!(Round::Down),
        (Round::Up, _) => directed!(Round::Up),
    };
    let operands = if matches!(name, "fma" | "mad") { 3 } else { 2 };
    same(
        function,
        Type::F64,
        operands,
        if name == "div" {
            Class::Divide
        } else {
            Class::Double
        },
    )
}

/// A product as a sum with the zero of its own sign, which changes nothing.
fn product64(a: f64, b: f64, round: Round) -> u64 {
    let zero = if a.is_sign_negative() == b.is_sign_negative() {
        0.0
    } else {
        -0.0
    };
    soft::fma(a, b, zero, soft::F64, round)
}

/// The fused multiply-add of kernels' inner loops, with the host's own instruction where it has one.
mod fused {
    #![expect(
        unsafe_code,
        reason = "the host's instruction set is known only when the program runs"
    )]

    use super::{CANONICAL_NAN, Narrow};

    type Fused = fn(&mut Narrow, &Narrow, &Narrow, &Narrow);

    /// The fastest form that this host can run.
    pub fn single() -> Fused {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
            return |to, x, y, z| {
                // SAFETY: this function is handed out only after the host was found to have both features.
                unsafe { with_instruction(to, x, y, z) }
            };
        }
        plain
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn with_instruction(to: &mut Narrow, x: &Narrow, y: &Narrow, z: &Narrow) {
        lanes(to, x, y, z);
    }

    fn plain(to: &mut Narrow, x: &Narrow, y: &Narrow, z: &Narrow) {
        lanes(to, x, y, z);
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "it is compiled for the instruction set of its caller"
    )]
    fn lanes(to: &mut Narrow, x: &Narrow, y: &Narrow, z: &Narrow) {
        for i in 0..32 {
            let sum = f32::from_bits(x[i]).mul_add(f32::from_bits(y[i]), f32::from_bits(z[i]));
            to[i] = if sum.is_nan() {
                CANONICAL_NAN
            } else {
                sum.to_bits()
            };
        }
    }
}
