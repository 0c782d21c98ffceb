//! `cp.async`: copies from global to shared memory that arrive when they are waited for, and not before.

use super::mask::lanes;
use super::stop::{Step, Stop};
pub mod pending;

use super::address::addresses;
use super::block::Core;
use super::global::unwritten;
use super::group::Frame;
use super::memory::get;
use super::shared::{accessor, count_wavefronts};
use super::warp::Warp;
use crate::FaultKind;
use crate::program::AsyncCopy;
use pending::{Copies, Copy};

impl Core<'_> {
    /// `cp.async`
    pub fn begin_copy(&mut self, warp: &mut Warp, frame: &Frame, copy: &AsyncCopy, mask: u32) -> Step {
        let pool = &self.machine.pool;
        let to = addresses(&warp.registers, pool, &copy.to, frame.local, mask)?;
        let from = addresses(&warp.registers, pool, &copy.from, frame.local, mask)?;
        let size = usize::from(copy.size);
        count_wavefronts(&mut self.tally, &to, size, mask);
        let ignored = match copy.ignore {
            Some(predicate) => warp.registers.predicate(predicate, mask)?,
            None => 0,
        };
        let read = mask & !ignored;
        let mut unread = 0;
        for lane in lanes(mask) {
            let mut wanted = size;
            if let Some(row) = copy.source {
                wanted = warp.registers.narrow(pool, row, 1 << lane)?[lane] as usize;
            }
            if wanted > size {
                let message = format!("cp.async of {size} bytes with a source of {wanted}");
                return Err(Stop::new(FaultKind::OutOfBounds, lane as u32, message));
            }
            let mut bytes = [0; 16];
            if read >> lane & 1 == 1 {
                if wanted > 0 {
                    self.read_for_copy(from[lane], size, &mut bytes[..wanted], lane)?;
                }
                unread += (size - wanted) as u64;
            }
            let at = self
                .shared
                .begin_copy(to[lane], size, &accessor(&self.order, warp.number, lane))?;
            let group = warp.copies.group[lane];
            warp.copies.pending.push(Copy {
                lane: lane as u32,
                group,
                at,
                size,
                bytes,
            });
        }
        // A copy that reads less than it writes is not watched: how much of its sectors it uses has no one answer.
        let watched = self.machine.launch.watched.filter(|_| unread == 0);
        self.tally.load(&from, read, size as u64, watched);
        self.tally.loads.bytes -= unread;
        Ok(())
    }

    fn read_for_copy(&mut self, address: u64, size: usize, bytes: &mut [u8], lane: usize) -> Step {
        if !address.is_multiple_of(size as u64) {
            let message = format!("Misaligned cp.async of {size} bytes from global address {address:#x}");
            return Err(Stop::new(FaultKind::Misaligned, lane as u32, message));
        }
        let wanted = bytes.len() as u64;
        let allocation = self.global.one(address, 1, lane, false)?;
        if !allocation.covers(address, wanted) {
            self.global.one(address + wanted - 1, 1, lane, false)?;
        }
        if !allocation.is_written(address, wanted) {
            return Err(unwritten(address, wanted, lane));
        }
        let offset = allocation.offset(address);
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = get(allocation, offset + i, 1) as u8;
        }
        Ok(())
    }

    /// Lets copies arrive until so many groups at most are under way; all of them without a number.
    pub fn finish_copies(&mut self, warp: &mut Warp, left: Option<u32>, mask: u32) {
        let (order, shared, number) = (&self.order, &mut self.shared, warp.number);
        let Copies { pending, group } = &mut warp.copies;
        pending.retain(|copy| {
            let lane = copy.lane as usize;
            let arrives = mask >> copy.lane & 1 == 1
                && left.is_none_or(|left| u64::from(copy.group) + u64::from(left) < u64::from(group[lane]));
            if arrives {
                shared.finish_copy(copy.at, &copy.bytes[..copy.size], &accessor(order, number, lane));
            }
            !arrives
        });
    }
}
