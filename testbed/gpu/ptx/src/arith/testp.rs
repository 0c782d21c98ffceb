//! `testp` (PTX ISA 9.7.3.2): what kind of number a value is.

/// What `testp` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatTest {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

impl FloatTest {
    /// Whether it holds for a number, which has single precision or double.
    pub fn holds(self, value: f64, single: bool) -> bool {
        let least = if single {
            f64::from(f32::MIN_POSITIVE)
        } else {
            f64::MIN_POSITIVE
        };
        match self {
            Self::Finite => value.is_finite(),
            Self::Infinite => value.is_infinite(),
            Self::Number => !value.is_nan(),
            Self::NotANumber => value.is_nan(),
            // PTX counts zero as normal.
            Self::Normal => value.is_finite() && (value == 0.0 || value.abs() >= least),
            Self::Subnormal => value != 0.0 && value.abs() < least,
        }
    }
}
