//! Matrix products of a warp (PTX ISA 9.7.13), and the moves of their fragments.
//!
//! All shapes lay their fragments out in one way. With e elements in a register, lane l of group g = l/4 and place t =
//! l%4 holds of A, in register r, row g + 8·(r mod R) and columns t·e + i + (r div R)·4e, where R is rows/8; of B, in
//! register r, rows t·e + i + r·4e of column g; of C and D, row g + 8·j and columns 2t and 2t+1.

use super::address::addresses;
use super::block::Core;
use super::group::Frame;
use super::mask::lanes;
use super::shared::{accessor, count_wavefronts};
use super::stop::{Step, Stop};
use super::warp::Warp;
use crate::FaultKind;
use crate::exec::address::SHARED_WINDOW;
use crate::program::{AddressSpace, Element, MatrixMove, MatrixProduct, Register, Row};
use half::{bf16, f16};

/// The most rows, columns or depth of a shape.
const MOST: usize = 64;

/// A whole operand: values as `f64`, which holds every element exactly, by row.
type Matrix = [[f64; MOST]; 16];

/// Elements of this kind in one register.
fn per_register(kind: Element) -> usize {
    match kind {
        Element::S4 | Element::U4 => 8,
        Element::S8 | Element::U8 => 4,
        Element::F16 | Element::Bf16 => 2,
        _ => 1,
    }
}

fn value(kind: Element, bits: u64, place: usize) -> f64 {
    let part = |width: usize| (bits >> (place * width)) as u32;
    match kind {
        Element::S4 => f64::from((part(4) << 28).cast_signed() >> 28),
        Element::U4 => f64::from(part(4) & 15),
        Element::S8 => f64::from(part(8) as i8),
        Element::U8 => f64::from(part(8) as u8),
        Element::F16 => f16::from_bits(part(16) as u16).to_f64(),
        Element::Bf16 => bf16::from_bits(part(16) as u16).to_f64(),
        // The machine reads 19 bits of a tf32 and ignores the others.
        Element::Tf32 => f64::from(f32::from_bits(bits as u32 & 0xffff_e000)),
        Element::F32 => f64::from(f32::from_bits(bits as u32)),
        Element::S32 => f64::from((bits as u32).cast_signed()),
        Element::F64 => f64::from_bits(bits),
    }
}

/// Refuses an operation of the whole warp to fewer lanes.
fn whole_warp(warp: &Warp, mask: u32, what: &str) -> Step {
    if mask == u32::MAX && warp.lanes == u32::MAX {
        return Ok(());
    }
    let message =
        format!("Divergent threads in warp: {what} is executed by lanes {mask:#010x}, and needs all 32");
    Err(Stop::new(FaultKind::Mask, mask.trailing_zeros() & 31, message))
}

impl Core<'_> {
    /// `mma`: products are exact, and summed in double precision from the lowest k on before the one rounding; a card
    /// may round its partial sums. Integer sums are exact.
    pub fn matrix_product(&self, warp: &mut Warp, product: &MatrixProduct, mask: u32) -> Step {
        whole_warp(warp, mask, "mma")?;
        let (rows, columns, depth) = product.shape;
        let [_, a, b, c] = [0, 1, 2, 3].map(|i| &product.registers[i]);
        let (mut left, mut right, mut sum): (Matrix, Matrix, Matrix) =
            ([[0.0; MOST]; 16], [[0.0; MOST]; 16], [[0.0; MOST]; 16]);
        for lane in 0..32 {
            let (g, t) = (lane >> 2, lane & 3);
            let blocks = rows / 8;
            self.fragment(warp, a, product.inputs.0, lane, |r, i, e, value| {
                left[g + 8 * (r % blocks)][t * e + i + r / blocks * 4 * e] = value;
            })?;
            self.fragment(warp, b, product.inputs.1, lane, |r, i, e, value| {
                right[g][t * e + i + r * 4 * e] = value;
            })?;
            self.fragment(warp, c, product.sum, lane, |r, i, e, value| {
                let at = r * e + i;
                sum[g + 8 * (at / 2)][2 * t + at % 2] = value;
            })?;
        }
        let is_double = product.inputs.0 == Element::F64;
        for row in 0..rows {
            for column in 0..columns {
                let mut total = sum[row][column];
                for k in 0..depth {
                    let (x, y) = (left[row][k], right[column][k]);
                    // Of all inputs but double precision the product is exact, and fusing it changes nothing.
                    total = if is_double {
                        x.mul_add(y, total)
                    } else {
                        x * y + total
                    };
                }
                sum[row][column] = total;
            }
        }
        for lane in 0..32 {
            let (g, t) = (lane >> 2, lane & 3);
            let e = per_register(product.output);
            for (r, &register) in product.registers[0].iter().enumerate() {
                let mut bits = 0;
                for i in 0..e {
                    let at = r * e + i;
                    bits |= rounded(sum[g + 8 * (at / 2)][2 * t + at % 2], product) << (16 * i);
                }
                warp.registers.set_lane(register, lane, bits);
            }
        }
        Ok(())
    }

    fn fragment(
        &self,
        warp: &Warp,
        registers: &[Register],
        kind: Element,
        lane: usize,
        mut put: impl FnMut(usize, usize, usize, f64),
    ) -> Step {
        let e = per_register(kind);
        for (r, &register) in registers.iter().enumerate() {
            let bits = warp.registers.lane(&self.machine.pool, register, lane)?;
            for i in 0..e {
                put(r, i, e, value(kind, bits, i));
            }
        }
        Ok(())
    }

    /// `ldmatrix` and `stmatrix`: lane 8·i + j gives the address of row j of matrix i.
    pub fn matrix_move(&mut self, warp: &mut Warp, frame: &Frame, operation: &MatrixMove, mask: u32) -> Step {
        whole_warp(warp, mask, if operation.load { "ldmatrix" } else { "stmatrix" })?;
        let mut at = addresses(
            &warp.registers,
            &self.machine.pool,
            &operation.address,
            frame.local,
            mask,
        )?;
        if operation.space == AddressSpace::Generic {
            at = at.map(|address| address.wrapping_sub(SHARED_WINDOW));
        }
        for (matrix, &register) in operation.registers.iter().enumerate() {
            let givers = 0xff << (8 * matrix);
            let mut wavefront = [0; 32];
            lanes(givers).for_each(|lane| wavefront[lane] = at[lane]);
            count_wavefronts(&mut self.tally, &wavefront, 16, givers);
            if operation.load {
                self.load_matrix(
                    warp,
                    &at[8 * matrix..8 * matrix + 8],
                    matrix,
                    operation.transposed,
                    register,
                )?;
            } else {
                self.store_matrix(
                    warp,
                    &at[8 * matrix..8 * matrix + 8],
                    operation.transposed,
                    register,
                )?;
            }
        }
        Ok(())
    }

    fn load_matrix(
        &mut self,
        warp: &mut Warp,
        at: &[u64],
        matrix: usize,
        transposed: bool,
        register: Row,
    ) -> Step {
        let mut rows = [[0; 8]; 8];
        for (row, &address) in at.iter().enumerate() {
            // The row is read for other lanes too; the record knows the lane that gave the address.
            let offset =
                self.shared
                    .read(address, 16, &accessor(&self.order, warp.number, 8 * matrix + row))?;
            for (column, element) in rows[row].iter_mut().enumerate() {
                *element = self.shared.get(offset + 2 * column, 2);
            }
        }
        for lane in 0..32 {
            let (row, column) = (lane / 4, lane % 4 * 2);
            let (low, high) = if transposed {
                (rows[column][row], rows[column + 1][row])
            } else {
                (rows[row][column], rows[row][column + 1])
            };
            warp.registers
                .set_lane(Register::W(register), lane, low | high << 16);
        }
        Ok(())
    }

    fn store_matrix(&mut self, warp: &mut Warp, at: &[u64], transposed: bool, register: Row) -> Step {
        for lane in 0..32 {
            let bits = warp
                .registers
                .lane(&self.machine.pool, Register::W(register), lane)? as u32;
            let (row, column) = (lane / 4, lane % 4 * 2);
            let by = accessor(&self.order, warp.number, lane);
            for (i, half) in [bits as u16, (bits >> 16) as u16].into_iter().enumerate() {
                let (row, column) = if transposed {
                    (column + i, row)
                } else {
                    (row, column + i)
                };
                self.shared
                    .write(at[row] + 2 * column as u64, &half.to_le_bytes(), &by)?;
            }
        }
        Ok(())
    }

    /// `movmatrix`
    pub fn matrix_transpose(&self, warp: &mut Warp, to: Row, from: Row, mask: u32) -> Step {
        whole_warp(warp, mask, "movmatrix")?;
        let row = *warp.registers.narrow(&self.machine.pool, from, mask)?;
        let element = |r: usize, c: usize| row[r * 4 + c / 2] >> (16 * (c & 1)) & 0xffff;
        let mut moved = [0; 32];
        for (lane, to) in moved.iter_mut().enumerate() {
            let (r, c) = (lane / 4, lane % 4 * 2);
            *to = element(c, r) | element(c + 1, r) << 16;
        }
        warp.registers.write_narrow(to, &moved, mask);
        Ok(())
    }
}

/// A sum as the bits of the result's type.
fn rounded(sum: f64, product: &MatrixProduct) -> u64 {
    match product.output {
        Element::S32 if product.saturate => u64::from((sum as i32).cast_unsigned()),
        // Without `.satfinite` the sum wraps; below 2^53 nothing was lost.
        Element::S32 => u64::from(sum as i64 as u32),
        Element::F16 => u64::from(crate::arith::Lane::bits(f16::from_f64(sum))),
        Element::F64 => sum.to_bits(),
        _ => u64::from(crate::arith::Lane::bits(sum as f32)),
    }
}
