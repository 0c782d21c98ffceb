//! Atomic operations.

use super::address::{addresses, window};
use super::block::Core;
use super::global::unwritten;
use super::group::Frame;
use super::mask::lanes;
use super::memory::same_space;
use super::shared::accessor;
use super::stop::{Step, Stop};
use super::warp::Warp;
use crate::FaultKind;
use crate::memory::Allocation;
use crate::program::{AddressSpace, Atomic, AtomicOperation as Op, AtomicType as Kind};
use std::sync::atomic::Ordering::Relaxed;

impl Kind {
    fn size(self) -> usize {
        match self {
            Self::B16 | Self::F16 | Self::Bf16 => 2,
            Self::U64 | Self::S64 | Self::F64 => 8,
            _ => 4,
        }
    }
}

fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn canonical(value: f32) -> u64 {
    u64::from(crate::arith::Lane::bits(value))
}

/// The sum of two halves, as `add.rn` gives it.
fn half_sum<H: crate::arith::Lane<Bits = u32>>(a: u64, b: u64, add: impl Fn(H, H) -> H) -> u64 {
    u64::from(add(H::of(a as u32), H::of(b as u32)).bits())
}

fn add(kind: Kind, old: u64, operand: u64) -> u64 {
    use half::{bf16, f16};
    let f16_sum = |a: f16, b: f16| f16::from_f32(a.to_f32() + b.to_f32());
    let bf16_sum = |a: bf16, b: bf16| bf16::from_f32(a.to_f32() + b.to_f32());
    match kind {
        Kind::F32 => canonical(single(old) + single(operand)),
        Kind::F64 => (f64::from_bits(old) + f64::from_bits(operand)).to_bits(),
        Kind::F16 => half_sum(old, operand, f16_sum),
        Kind::Bf16 => half_sum(old, operand, bf16_sum),
        Kind::F16x2 => half_sum(old, operand, f16_sum) | half_sum(old >> 16, operand >> 16, f16_sum) << 16,
        Kind::Bf16x2 => half_sum(old, operand, bf16_sum) | half_sum(old >> 16, operand >> 16, bf16_sum) << 16,
        Kind::B16 | Kind::U32 | Kind::S32 | Kind::U64 | Kind::S64 => old.wrapping_add(operand),
    }
}

/// The new value. All operands hold the type's bits and nothing above.
fn apply(atomic: &Atomic, old: u64, operand: u64, swap: u64) -> u64 {
    let less = |a: u64, b: u64| match atomic.kind {
        Kind::S32 => (a as u32).cast_signed() < (b as u32).cast_signed(),
        Kind::S64 => a.cast_signed() < b.cast_signed(),
        _ => a < b,
    };
    match atomic.operation {
        Op::And => old & operand,
        Op::Or => old | operand,
        Op::Xor => old ^ operand,
        Op::Exchange => operand,
        Op::CompareExchange if old == operand => swap,
        Op::CompareExchange => old,
        Op::Add => add(atomic.kind, old, operand),
        Op::Increment if old >= operand => 0,
        Op::Increment => old + 1,
        Op::Decrement if old == 0 || old > operand => operand,
        Op::Decrement => old - 1,
        Op::Least if less(operand, old) => operand,
        Op::Most if less(old, operand) => operand,
        Op::Least | Op::Most => old,
    }
}

fn on_global(allocation: &Allocation, offset: usize, size: usize, change: impl Fn(u64) -> u64) -> u64 {
    match size {
        8 => {
            let update = allocation
                .cells
                .atomic64(offset)
                .fetch_update(Relaxed, Relaxed, |old| Some(change(old)));
            update.unwrap_or_else(|old| old)
        }
        4 => {
            let word = allocation.cells.atomic32(offset);
            let update = word.fetch_update(Relaxed, Relaxed, |old| Some(change(u64::from(old)) as u32));
            u64::from(update.unwrap_or_else(|old| old))
        }
        _ => {
            let (word, shift) = (allocation.cells.atomic32(offset & !3), (offset & 2) * 8);
            let part = |old: u32| u64::from(old >> shift & 0xffff);
            let update = word.fetch_update(Relaxed, Relaxed, |old| {
                Some(old & !(0xffff << shift) | (change(part(old)) as u32 & 0xffff) << shift)
            });
            part(update.unwrap_or_else(|old| old))
        }
    }
}

impl Core<'_> {
    /// `atom` and `red`: lane by lane, from the lowest.
    pub fn atomic(&mut self, warp: &mut Warp, frame: &Frame, atomic: &Atomic, mask: u32) -> Step {
        let mut at = addresses(
            &warp.registers,
            &self.machine.pool,
            &atomic.address,
            frame.local,
            mask,
        )?;
        self.tally.atomics += u64::from(mask.count_ones());
        let mut rest = mask;
        while rest != 0 {
            let (space, same) = match atomic.space {
                AddressSpace::Generic => same_space(&at, rest),
                space => (space, rest),
            };
            for lane in lanes(same) {
                if atomic.space == AddressSpace::Generic {
                    at[lane] -= window(space);
                }
                self.atomic_lane(warp, space, atomic, at[lane], lane)?;
            }
            rest &= !same;
        }
        Ok(())
    }

    fn atomic_lane(
        &mut self,
        warp: &mut Warp,
        space: AddressSpace,
        atomic: &Atomic,
        address: u64,
        lane: usize,
    ) -> Step {
        let size = atomic.kind.size();
        let bits = u64::MAX >> (64 - 8 * size);
        let pool = &self.machine.pool;
        let operand = warp.registers.lane(pool, atomic.operand, lane)? & bits;
        let swap = match atomic.swap {
            Some(swap) => warp.registers.lane(pool, swap, lane)? & bits,
            None => 0,
        };
        let change = |old| apply(atomic, old, operand, swap) & bits;
        let old = match space {
            AddressSpace::Shared => {
                let offset = self
                    .shared
                    .atomic(address, size, &accessor(&self.order, warp.number, lane))?;
                let old = self.shared.get(offset, size);
                self.shared.set(offset, size, change(old));
                old
            }
            AddressSpace::Global => {
                let allocation = self.global.one(address, size as u64, lane, true)?;
                if !allocation.is_written(address, size as u64) {
                    return Err(unwritten(address, size as u64, lane));
                }
                if self.machine.is_constant(address) {
                    return Err(Stop::new(
                        FaultKind::WrongSpace,
                        lane as u32,
                        "Write to constant memory",
                    ));
                }
                on_global(allocation, allocation.offset(address), size, change)
            }
            other => {
                let message = format!("Atomic access to {other:?} memory").to_lowercase();
                return Err(Stop::new(FaultKind::WrongSpace, lane as u32, message));
            }
        };
        if let Some(result) = atomic.result {
            warp.registers.set_lane(result, lane, old);
        }
        Ok(())
    }
}
