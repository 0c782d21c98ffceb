//! Exact floating point in integers, for what the host's own instructions do not offer: the rounding modes of PTX, and
//! the narrow formats. One function rounds for all of them.

/// The NaN that single-precision instructions of PTX give.
pub const CANONICAL_NAN: u32 = 0x7fff_ffff;

/// A rounding mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// `.rn`: to the nearest, ties to even.
    Nearest,
    /// `.rz`: towards zero.
    Zero,
    /// `.rm`: towards negative infinity.
    Down,
    /// `.rp`: towards positive infinity.
    Up,
}

impl Round {
    /// The mode behind a constant of generic code.
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Nearest,
            1 => Self::Zero,
            2 => Self::Down,
            _ => Self::Up,
        }
    }
}

/// An IEEE-754 binary format.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Bits of the significand, the hidden one included.
    pub precision: u32,
    /// The exponent of the smallest normal number.
    pub least: i32,
}

/// `.f64`.
pub const F64: Format = Format {
    precision: 53,
    least: -1022,
};
/// `.f32`.
pub const F32: Format = Format {
    precision: 24,
    least: -126,
};
/// `.f16`.
pub const F16: Format = Format {
    precision: 11,
    least: -14,
};
/// `.bf16`.
pub const BF16: Format = Format {
    precision: 8,
    least: -126,
};

/// A finite number other than zero: `significand · 2^exponent`.
#[derive(Clone, Copy, Debug)]
struct Finite {
    negative: bool,
    significand: u128,
    exponent: i32,
}

impl Finite {
    fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let (significand, exponent) = if field == 0 {
            (fraction, -1074)
        } else {
            (fraction | 1 << 52, field - 1075)
        };
        Self {
            negative: value.is_sign_negative(),
            significand: u128::from(significand),
            exponent,
        }
    }

    /// The same number with its highest bit at bit 125; zero bits come in from below.
    fn high(self) -> Self {
        let shift = self.significand.leading_zeros() as i32 - 2;
        Self {
            significand: self.significand << shift,
            exponent: self.exponent - shift,
            ..self
        }
    }
}

/// Rounds `significand · 2^exponent`. The lowest bit of a significand of more than 120 bits may stand for all below it.
pub fn round(negative: bool, significand: u128, exponent: i32, format: Format, mode: Round) -> u64 {
    let Format { precision, least } = format;
    let width = precision + exponent_bits(format);
    let sign = u64::from(negative) << (width - 1);
    if significand == 0 {
        return sign;
    }
    let leading = exponent + 127 - significand.leading_zeros() as i32;
    let quantum = leading.max(least) - (precision as i32 - 1);
    let shift = quantum - exponent;
    let (mut kept, up) = if shift <= 0 {
        (significand << -shift, false)
    } else {
        let kept = significand.checked_shr(shift as u32).unwrap_or(0);
        let lost = significand - kept.checked_shl(shift as u32).unwrap_or(0);
        let half = 1_u128.checked_shl(shift as u32 - 1).unwrap_or(0);
        let nearest = half != 0 && (lost > half || (lost == half && kept & 1 == 1));
        let up = match mode {
            Round::Nearest => nearest,
            Round::Zero => false,
            Round::Down => negative && lost != 0,
            Round::Up => !negative && lost != 0,
        };
        (kept, up)
    };
    kept += u128::from(up);
    let hidden = 1_u128 << (precision - 1);
    // A carry out of the significand goes on into the exponent field by itself.
    let field = if kept < hidden {
        0
    } else {
        i64::from(quantum + precision as i32 - 1 - least + 1)
    };
    let magnitude = if kept < hidden {
        kept as u64
    } else {
        ((field as u64) << (precision - 1)) + (kept - hidden) as u64
    };
    let infinity = infinity(format);
    if field > i64::from(i16::MAX) || magnitude >= infinity {
        let away = match mode {
            Round::Nearest => true,
            Round::Zero => false,
            Round::Down => negative,
            Round::Up => !negative,
        };
        return sign | if away { infinity } else { infinity - 1 };
    }
    sign | magnitude
}

fn exponent_bits(format: Format) -> u32 {
    (1 - format.least).ilog2() + 2
}

fn infinity(format: Format) -> u64 {
    ((1 << exponent_bits(format)) - 1) << (format.precision - 1)
}

/// Converts to a narrower format; a NaN becomes the one with all bits set but the sign.
pub fn convert(value: f64, format: Format, mode: Round) -> u64 {
    let negative = value.is_sign_negative();
    let sign = u64::from(negative) << (format.precision + exponent_bits(format) - 1);
    if value.is_nan() {
        return infinity(format) | ((1 << (format.precision - 1)) - 1);
    }
    if value.is_infinite() {
        return sign | infinity(format);
    }
    let finite = Finite::of(value);
    round(negative, finite.significand, finite.exponent, format, mode)
}

/// Converts an integer.
pub fn convert_integer(negative: bool, magnitude: u64, format: Format, mode: Round) -> u64 {
    if magnitude == 0 {
        0
    } else {
        round(negative, u128::from(magnitude), 0, format, mode)
    }
}

/// `a · b + c`, rounded once.
pub fn fma(a: f64, b: f64, c: f64, format: Format, mode: Round) -> u64 {
    let special = a.mul_add(b, c);
    if !a.is_finite() || !b.is_finite() || !c.is_finite() {
        return convert(special, format, mode);
    }
    let negative = a.is_sign_negative() != b.is_sign_negative();
    if a == 0.0 || b == 0.0 {
        return if c == 0.0 {
            zero_sum(negative, c.is_sign_negative(), format, mode)
        } else {
            convert(c, format, mode)
        };
    }
    let (x, y) = (Finite::of(a), Finite::of(b));
    let product = Finite {
        negative,
        significand: x.significand * y.significand,
        exponent: x.exponent + y.exponent,
    };
    if c == 0.0 {
        return round(
            product.negative,
            product.significand,
            product.exponent,
            format,
            mode,
        );
    }
    let (p, q) = (product.high(), Finite::of(c).high());
    let (big, small) = if (p.exponent, p.significand) >= (q.exponent, q.significand) {
        (p, q)
    } else {
        (q, p)
    };
    let distance = (big.exponent - small.exponent) as u32;
    let shifted = small.significand.checked_shr(distance).unwrap_or(0);
    let lost = shifted.checked_shl(distance).unwrap_or(0) != small.significand;
    let aligned = shifted | u128::from(lost);
    if big.negative == small.negative {
        return round(
            big.negative,
            big.significand + aligned,
            big.exponent,
            format,
            mode,
        );
    }
    match big.significand - aligned {
        0 => zero_sum(false, true, format, mode),
        difference => round(big.negative, difference, big.exponent, format, mode),
    }
}

/// The zero that a sum of zeros, or of numbers that cancel, gives.
fn zero_sum(left: bool, right: bool, format: Format, mode: Round) -> u64 {
    let negative = if left == right { left } else { mode == Round::Down };
    u64::from(negative) << (format.precision + exponent_bits(format) - 1)
}

/// `a / b`, rounded once.
pub fn divide(a: f64, b: f64, format: Format, mode: Round) -> u64 {
    if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return convert(a / b, format, mode);
    }
    let (x, y) = (Finite::of(a).high(), Finite::of(b));
    let y = Finite {
        significand: y.significand,
        ..y
    };
    let (quotient, rest) = (x.significand / y.significand, x.significand % y.significand);
    // The quotient has at least 72 bits: its lowest can stand for the rest.
    round(
        x.negative != y.negative,
        quotient | u128::from(rest != 0),
        x.exponent - y.exponent,
        format,
        mode,
    )
}

/// The square root, rounded once.
pub fn square_root(a: f64, format: Format, mode: Round) -> u64 {
    if !a.is_finite() || a <= 0.0 {
        return convert(a.sqrt(), format, mode);
    }
    let mut x = Finite::of(a).high();
    if x.exponent % 2 != 0 {
        x = Finite {
            significand: x.significand << 1,
            exponent: x.exponent - 1,
            ..x
        };
    }
    let root = x.significand.isqrt();
    let exact = root * root == x.significand;
    // The root has 63 bits, ten more than the widest format; doubling makes room for what is below.
    round(
        false,
        root << 1 | u128::from(!exact),
        x.exponent / 2 - 1,
        format,
        mode,
    )
}
