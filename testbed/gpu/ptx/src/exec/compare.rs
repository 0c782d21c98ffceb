//! Comparisons, and the selections that follow from them.

use super::block::Core;
use super::mask::lanes;
use super::stop::Step;
use super::warp::Warp;
use crate::arith::{Compare, FloatTest, high_halves};
use crate::program::{Comparison, Register, Row};

impl Core<'_> {
    /// The lanes for which a comparison holds, of packed halves the low and the high one.
    pub fn compare(&self, warp: &Warp, comparison: &Comparison, packed: bool, mask: u32) -> Step<(u32, u32)> {
        let (pool, registers) = (&self.machine.pool, &warp.registers);
        let [a, b] = comparison.operands;
        let (low, high) = match comparison.compare {
            Compare::W(compare) => {
                let (a, b) = (registers.narrow(pool, a, mask)?, registers.narrow(pool, b, mask)?);
                let high = if packed {
                    compare(&high_halves(a), &high_halves(b))
                } else {
                    0
                };
                (compare(a, b), high)
            }
            Compare::D(compare) => (
                compare(registers.wide(pool, a, mask)?, registers.wide(pool, b, mask)?),
                0,
            ),
        };
        let Some((combine, predicate)) = comparison.combine else {
            return Ok((low, high));
        };
        let with = registers.predicate(predicate, mask)?;
        Ok((combine.join(low, with), combine.join(high, with)))
    }

    /// `setp`: with packed halves the second predicate is for the high ones, otherwise it is the complement.
    pub fn set_predicates(
        &self,
        warp: &mut Warp,
        comparison: &Comparison,
        to: Row,
        other: Option<Row>,
        packed: bool,
        mask: u32,
    ) -> Step {
        let (low, high) = self.compare(warp, comparison, packed, mask)?;
        warp.registers.write_predicate(to, low, mask);
        let Some(other) = other else { return Ok(()) };
        let mut second = high;
        if !packed {
            // The complement is taken before the predicate joins in.
            let plain = Comparison {
                combine: None,
                ..*comparison
            };
            second = !self.compare(warp, &plain, false, mask)?.0;
            if let Some((combine, predicate)) = comparison.combine {
                second = combine.join(second, warp.registers.predicate(predicate, mask)?);
            }
        }
        warp.registers.write_predicate(other, second, mask);
        Ok(())
    }

    /// `set`
    pub fn set_value(
        &self,
        warp: &mut Warp,
        comparison: &Comparison,
        to: Row,
        value: u32,
        packed: bool,
        mask: u32,
    ) -> Step {
        let (low, high) = self.compare(warp, comparison, packed, mask)?;
        let mut row = [0; 32];
        for (lane, result) in row.iter_mut().enumerate() {
            *result = if low >> lane & 1 == 1 { value } else { 0 };
            if packed && high >> lane & 1 == 1 {
                *result |= value << 16;
            }
        }
        warp.registers.write_narrow(to, &row, mask);
        Ok(())
    }

    /// `testp`
    pub fn test(&self, warp: &mut Warp, to: Row, from: Register, test: FloatTest, mask: u32) -> Step {
        let mut held = 0;
        for lane in lanes(mask) {
            let bits = warp.registers.lane(&self.machine.pool, from, lane)?;
            let holds = match from {
                Register::D(_) => test.holds(f64::from_bits(bits), false),
                _ => test.holds(f64::from(f32::from_bits(bits as u32)), true),
            };
            held |= u32::from(holds) << lane;
        }
        warp.registers.write_predicate(to, held, mask);
        Ok(())
    }

    /// `selp` and `slct`: a where the lane is in `first`, b elsewhere.
    pub fn select(&self, warp: &mut Warp, to: Register, a: Row, b: Row, first: u32, mask: u32) -> Step {
        let (pool, registers) = (&self.machine.pool, &mut warp.registers);
        let first = first & mask;
        match to {
            Register::W(to) => {
                let (a, b) = (
                    *registers.narrow(pool, a, first)?,
                    *registers.narrow(pool, b, mask & !first)?,
                );
                registers.write_narrow(to, &a, first);
                registers.write_narrow(to, &b, mask & !first);
            }
            Register::D(to) => {
                let (a, b) = (
                    *registers.wide(pool, a, first)?,
                    *registers.wide(pool, b, mask & !first)?,
                );
                registers.write_wide(to, &a, first);
                registers.write_wide(to, &b, mask & !first);
            }
            Register::P(_) => {}
        }
        Ok(())
    }

    /// The lanes in which the sign operand of `slct` is not negative.
    pub fn not_negative(&self, warp: &Warp, sign: Row, float: bool, mask: u32) -> Step<u32> {
        let row = warp.registers.narrow(&self.machine.pool, sign, mask)?;
        let holds = |bits: u32| {
            if float {
                f32::from_bits(bits) >= 0.0
            } else {
                bits.cast_signed() >= 0
            }
        };
        Ok(lanes(mask)
            .filter(|&lane| holds(row[lane]))
            .fold(0, |first, lane| first | 1 << lane))
    }
}
