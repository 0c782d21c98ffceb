//! Generic addresses as values: made from those of a space, turned back, and asked for their space.

use super::address::{space_of, window};
use super::block::Core;
use super::group::Frame;
use super::mask::lanes;
use super::stop::Step;
use super::warp::Warp;
use crate::program::{AddressSpace, Register, Row};

impl Core<'_> {
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

/// The address of something in the function's frame.
pub fn frame_address(warp: &mut Warp, frame: &Frame, to: Register, offset: u32, mask: u32) {
    for lane in lanes(mask) {
        warp.registers.set_lane(to, lane, u64::from(frame.local + offset));
    }
}
