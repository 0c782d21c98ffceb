//! Operations that move, select, compare and pack: everything on registers that is no function from rows to a row.

use super::block::Core;
use super::group::Frame;
use super::mask::lanes;
use super::stop::Step;
use super::warp::Warp;
use crate::arith::{Compare, FloatTest, Function, Narrow, Wide, high_halves};
use crate::exec::address::{space_of, window};
use crate::program::{AddressSpace, Carry, CarryKind, Comparison, NONE, Predicate, Register, Row, Special};

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

    /// `lop3`
    pub fn logic3(
        &self,
        warp: &mut Warp,
        to: Row,
        from: &[Row; 3],
        table: u8,
        or: Option<(Row, crate::arith::Combine, Predicate)>,
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

    /// A special register.
    pub fn special(&self, warp: &mut Warp, to: Register, which: Special, mask: u32) {
        let launch = self.machine.launch;
        let [x, y, z] = launch.block;
        let axis = |values: [u32; 3], axis: u8| u64::from(values[usize::from(axis)]);
        let nanoseconds = || u64::try_from(self.machine.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let multiprocessors = u64::from(self.machine.limits.multiprocessors.max(1));
        for lane in lanes(mask) {
            let thread = warp.number * 32 + lane as u32;
            let value = match which {
                Special::Tid(0) => u64::from(thread % x),
                Special::Tid(1) => u64::from(thread / x % y),
                Special::Tid(_) => u64::from(thread / (x * y)),
                Special::Ntid(a) => axis([x, y, z], a),
                Special::Ctaid(a) => axis(self.block, a),
                Special::Nctaid(a) => axis(launch.grid, a),
                Special::Laneid => lane as u64,
                Special::Warpid => u64::from(warp.number),
                Special::Nwarpid => u64::from((x * y * z).div_ceil(32)),
                Special::Smid => self.number % multiprocessors,
                Special::Nsmid => multiprocessors,
                Special::Gridid | Special::Zero => 0,
                Special::One => 1,
                Special::LanemaskEq => 1 << lane,
                Special::LanemaskLe => (2 << lane) - 1,
                Special::LanemaskLt => (1 << lane) - 1,
                Special::LanemaskGe => 0xffff_ffff << lane & 0xffff_ffff,
                Special::LanemaskGt => 0xffff_fffe << lane & 0xffff_ffff,
                Special::Clock => warp.steps,
                Special::ClockHi => warp.steps >> 32,
                Special::Globaltimer | Special::GlobaltimerLo => nanoseconds(),
                Special::GlobaltimerHi => nanoseconds() >> 32,
                Special::DynamicSharedSize => u64::from(launch.shared_bytes),
                Special::TotalSharedSize => u64::from(self.machine.shared_bytes()),
            };
            warp.registers.set_lane(to, lane, value);
        }
    }

    /// `cvta`
    pub fn convert_address(
        &self,
        warp: &mut Warp,
        to: Register,
        from: Register,
        space: AddressSpace,
        to_space: bool,
        mask: u32,
    ) -> Step {
        let start = window(space);
        for lane in lanes(mask) {
            let address = warp.registers.lane(&self.machine.pool, from, lane)?;
            let value = if to_space {
                address.wrapping_sub(start)
            } else {
                address.wrapping_add(start)
            };
            warp.registers.set_lane(to, lane, value);
        }
        Ok(())
    }

    /// `isspacep`
    pub fn is_space(&self, warp: &mut Warp, to: Row, from: Register, space: AddressSpace, mask: u32) -> Step {
        let mut held = 0;
        for lane in lanes(mask) {
            let address = warp.registers.lane(&self.machine.pool, from, lane)?;
            let holds = match space {
                AddressSpace::Const => self.machine.is_constant(address),
                AddressSpace::Global => {
                    space_of(address) == AddressSpace::Global && !self.machine.is_constant(address)
                }
                other => space_of(address) == other,
            };
            held |= u32::from(holds) << lane;
        }
        warp.registers.write_predicate(to, held, mask);
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

/// The address of something in the function's frame.
pub fn frame_address(warp: &mut Warp, frame: &Frame, to: Register, offset: u32, mask: u32) {
    for lane in lanes(mask) {
        warp.registers.set_lane(to, lane, u64::from(frame.local + offset));
    }
}
