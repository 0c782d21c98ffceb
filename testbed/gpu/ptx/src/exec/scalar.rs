//! Arithmetic on registers, and what moves bits between them.

use super::block::Core;
use super::mask::lanes;
use super::stop::Step;
use super::warp::Warp;
use crate::arith::{Combine, Function, Narrow, Wide};
use crate::program::{Carry, CarryKind, NONE, Predicate, Register, Row};

impl Core<'_> {
    /// Arithmetic from rows to a row.
    #[inline]
    pub fn arithmetic(
        &self,
        warp: &mut Warp,
        function: Function,
        to: Row,
        from: &[Row; 4],
        mask: u32,
    ) -> Step {
        let (pool, registers) = (&self.machine.pool, &mut warp.registers);
        macro_rules! narrow {
            ($i:literal) => {
                registers.narrow(pool, from[$i], mask)?
            };
        }
        macro_rules! wide {
            ($i:literal) => {
                registers.wide(pool, from[$i], mask)?
            };
        }
        let (mut w, mut d): (Narrow, Wide);
        match function {
            Function::W1(_) | Function::W2(_) | Function::W3(_) | Function::W4(_) | Function::WD(_) => {
                w = [0; 32];
                match function {
                    Function::W1(f) => f(&mut w, narrow!(0)),
                    Function::W2(f) => f(&mut w, narrow!(0), narrow!(1)),
                    Function::W3(f) => f(&mut w, narrow!(0), narrow!(1), narrow!(2)),
                    Function::W4(f) => f(&mut w, narrow!(0), narrow!(1), narrow!(2), narrow!(3)),
                    Function::WD(f) => f(&mut w, wide!(0)),
                    _ => {}
                }
                registers.write_narrow(to, &w, mask);
            }
            _ => {
                d = [0; 32];
                match function {
                    Function::D1(f) => f(&mut d, wide!(0)),
                    Function::D2(f) => f(&mut d, wide!(0), wide!(1)),
                    Function::D3(f) => f(&mut d, wide!(0), wide!(1), wide!(2)),
                    Function::DW(f) => f(&mut d, narrow!(0)),
                    Function::DWW(f) => f(&mut d, narrow!(0), narrow!(1)),
                    Function::DWWD(f) => f(&mut d, narrow!(0), narrow!(1), wide!(2)),
                    Function::DDW(f) => f(&mut d, wide!(0), narrow!(1)),
                    Function::DDWW(f) => f(&mut d, wide!(0), narrow!(1), narrow!(2)),
                    Function::DDDWW(f) => f(&mut d, wide!(0), wide!(1), narrow!(2), narrow!(3)),
                    _ => {}
                }
                registers.write_wide(to, &d, mask);
            }
        }
        Ok(())
    }

    /// `lop3`
    pub fn logic3(
        &self,
        warp: &mut Warp,
        to: Row,
        from: &[Row; 3],
        table: u8,
        or: Option<(Row, Combine, Predicate)>,
        mask: u32,
    ) -> Step {
        let (pool, registers) = (&self.machine.pool, &mut warp.registers);
        let a = registers.narrow(pool, from[0], mask)?;
        let (b, c) = (
            registers.narrow(pool, from[1], mask)?,
            registers.narrow(pool, from[2], mask)?,
        );
        let mut row = [0; 32];
        for term in 0..8 {
            if table >> term & 1 == 0 {
                continue;
            }
            let pick = |value: u32, wanted: bool| if wanted { value } else { !value };
            for lane in 0..32 {
                row[lane] |= pick(a[lane], term & 4 != 0)
                    & pick(b[lane], term & 2 != 0)
                    & pick(c[lane], term & 1 != 0);
            }
        }
        registers.write_narrow(to, &row, mask);
        if let Some((to, combine, with)) = or {
            let other = lanes(mask)
                .filter(|&lane| row[lane] != 0)
                .fold(0, |set, lane| set | 1 << lane);
            let with = registers.predicate(with, mask)?;
            registers.write_predicate(to, combine.join(other, with), mask);
        }
        Ok(())
    }

    /// Sums with carry.
    pub fn carry(&self, warp: &mut Warp, carry: &Carry, mask: u32) -> Step {
        let pool = &self.machine.pool;
        let register = |row| {
            if carry.wide {
                Register::D(row)
            } else {
                Register::W(row)
            }
        };
        let width = if carry.wide { 64 } else { 32 };
        let bits = (1_u128 << width) - 1;
        for lane in lanes(mask) {
            let value = |row| warp.registers.lane(pool, register(row), lane);
            let carry_in = u128::from(carry.uses && warp.registers.carry >> lane & 1 == 1);
            let (a, b) = (value(carry.operands[0])?, value(carry.operands[1])?);
            let (x, y) = match carry.kind {
                CarryKind::Add | CarryKind::Subtract => (u128::from(a), u128::from(b)),
                kind => {
                    let c = value(carry.operands[2])?;
                    (
                        product(a, b, carry, kind == CarryKind::MultiplyHigh) & bits,
                        u128::from(c),
                    )
                }
            };
            let result = if carry.kind == CarryKind::Subtract {
                x.wrapping_sub(y).wrapping_sub(carry_in)
            } else {
                x + y + carry_in
            };
            if carry.sets {
                let out = (result >> width & 1) as u32;
                warp.registers.carry = warp.registers.carry & !(1 << lane) | out << lane;
            }
            warp.registers
                .set_lane(register(carry.to), lane, (result & bits) as u64);
        }
        Ok(())
    }

    /// Several registers into one.
    pub fn pack(&self, warp: &mut Warp, to: Register, from: &[Row; 4], bits: u8, mask: u32) -> Step {
        let part = u64::MAX >> (64 - u32::from(bits));
        for lane in lanes(mask) {
            let mut value = 0;
            for (place, &row) in from.iter().enumerate().filter(|&(_, &row)| row != NONE) {
                let element = warp.registers.lane(&self.machine.pool, Register::W(row), lane)? & part;
                value |= element << (place * usize::from(bits));
            }
            warp.registers.set_lane(to, lane, value);
        }
        Ok(())
    }

    /// One register into several.
    pub fn unpack(&self, warp: &mut Warp, to: &[Row; 4], from: Register, bits: u8, mask: u32) -> Step {
        let part = u64::MAX >> (64 - u32::from(bits));
        for lane in lanes(mask) {
            let value = warp.registers.lane(&self.machine.pool, from, lane)?;
            for (place, &row) in to.iter().enumerate().filter(|&(_, &row)| row != NONE) {
                warp.registers.set_lane(
                    Register::W(row),
                    lane,
                    value >> (place * usize::from(bits)) & part,
                );
            }
        }
        Ok(())
    }
}

fn product(a: u64, b: u64, carry: &Carry, high: bool) -> u128 {
    let full = match (carry.wide, carry.signed) {
        (true, false) => u128::from(a) * u128::from(b),
        (true, true) => (i128::from(a.cast_signed()) * i128::from(b.cast_signed())).cast_unsigned(),
        (false, false) => u128::from(a * b),
        (false, true) => {
            let signed = |bits: u64| i128::from((bits as u32).cast_signed());
            (signed(a) * signed(b)).cast_unsigned()
        }
    };
    if high {
        full >> if carry.wide { 64 } else { 32 }
    } else {
        full
    }
}
