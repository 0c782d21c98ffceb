//! Loads and stores.

use super::address::{addresses, space_of, window};
use super::block::Core;
use super::global::unwritten;
use super::group::Frame;
use super::mask::lanes;
use super::shared::{accessor, count_wavefronts};
use super::stop::{Step, Stop};
use super::tally::sectors;
use super::warp::Warp;
use crate::FaultKind;
use crate::memory::Allocation;
use crate::program::{Access, AddressSpace, NONE, Register};

/// Extends a loaded element by its sign to 64 bits, when it has one.
#[inline]
fn extend(value: u64, size: usize, signed: bool) -> u64 {
    if !signed {
        return value;
    }
    let spare = 64 - 8 * size as u32;
    ((value << spare).cast_signed() >> spare).cast_unsigned()
}

/// The element of a size at an offset of an allocation.
#[inline]
pub fn get(allocation: &Allocation, offset: usize, size: usize) -> u64 {
    match size {
        4 => u64::from(allocation.cells.load32(offset)),
        8 => allocation.cells.load64(offset),
        2 => u64::from(allocation.cells.load16(offset)),
        _ => u64::from(allocation.cells.load8(offset)),
    }
}

/// Sets the element of a size at an offset of an allocation.
#[inline]
pub fn set(allocation: &Allocation, offset: usize, size: usize, value: u64) {
    match size {
        4 => allocation.cells.store32(offset, value as u32),
        8 => allocation.cells.store64(offset, value),
        2 => allocation.cells.store16(offset, value as u16),
        _ => allocation.cells.store8(offset, value as u8),
    }
}

/// The lanes of a generic request that point to the space of its first lane, and that space.
pub fn same_space(addresses: &[u64; 32], mask: u32) -> (AddressSpace, u32) {
    let first = mask.trailing_zeros() as usize & 31;
    let space = space_of(addresses[first]);
    let same = lanes(mask)
        .filter(|&lane| space_of(addresses[lane]) == space)
        .fold(0, |same, lane| same | 1 << lane);
    (space, same)
}

impl Core<'_> {
    /// `ld`
    pub fn load(&mut self, warp: &mut Warp, frame: &Frame, access: &Access, mask: u32) -> Step {
        let mut at = addresses(
            &warp.registers,
            &self.machine.pool,
            &access.address,
            frame.local,
            mask,
        )?;
        if access.space != AddressSpace::Generic {
            return self.load_from(warp, access.space, access, &at, mask);
        }
        let mut rest = mask;
        while rest != 0 {
            let (space, same) = same_space(&at, rest);
            for lane in lanes(same) {
                at[lane] -= window(space);
            }
            self.load_from(warp, space, access, &at, same)?;
            rest &= !same;
        }
        Ok(())
    }

    /// `st`
    pub fn store(&mut self, warp: &mut Warp, frame: &Frame, access: &Access, mask: u32) -> Step {
        let mut at = addresses(
            &warp.registers,
            &self.machine.pool,
            &access.address,
            frame.local,
            mask,
        )?;
        if access.space != AddressSpace::Generic {
            return self.store_to(warp, access.space, access, &at, mask);
        }
        let mut rest = mask;
        while rest != 0 {
            let (space, same) = same_space(&at, rest);
            for lane in lanes(same) {
                at[lane] -= window(space);
            }
            self.store_to(warp, space, access, &at, same)?;
            rest &= !same;
        }
        Ok(())
    }

    fn load_from(
        &mut self,
        warp: &mut Warp,
        space: AddressSpace,
        access: &Access,
        at: &[u64; 32],
        mask: u32,
    ) -> Step {
        match space {
            AddressSpace::Generic | AddressSpace::Global | AddressSpace::Const => {
                self.load_global(warp, access, at, mask, space != AddressSpace::Const)
            }
            AddressSpace::Shared => self.load_shared(warp, access, at, mask),
            AddressSpace::Local => load_local(warp, access, at, mask),
            AddressSpace::Param => self.load_parameter(warp, access, at, mask),
        }
    }

    fn store_to(
        &mut self,
        warp: &mut Warp,
        space: AddressSpace,
        access: &Access,
        at: &[u64; 32],
        mask: u32,
    ) -> Step {
        match space {
            AddressSpace::Shared => self.store_shared(warp, access, at, mask),
            AddressSpace::Local => {
                for element in 0..usize::from(access.count) {
                    for lane in lanes(mask) {
                        let value =
                            warp.registers
                                .lane(&self.machine.pool, access.registers[element], lane)?;
                        let address = at[lane] + (element * usize::from(access.size)) as u64;
                        aligned(at[lane], access, lane, "local")?;
                        warp.local.store(address, usize::from(access.size), lane, value)?;
                    }
                }
                Ok(())
            }
            AddressSpace::Param => Err(Stop::new(
                FaultKind::WrongSpace,
                mask.trailing_zeros(),
                "Write to a kernel's parameters",
            )),
            _ => self.store_global(warp, access, at, mask),
        }
    }

    fn load_global(
        &mut self,
        warp: &mut Warp,
        access: &Access,
        at: &[u64; 32],
        mask: u32,
        counts: bool,
    ) -> Step {
        let size = usize::from(access.size);
        let bytes = (size * usize::from(access.count)) as u64;
        if counts {
            self.tally.load(at, mask, bytes, self.machine.launch.watched);
        }
        let Some(allocation) = self.global.covering(at, bytes, mask) else {
            for lane in lanes(mask) {
                let allocation = self.global.one(at[lane], bytes, lane, false)?;
                load_lanes(warp, access, allocation, at, 1 << lane)?;
            }
            return Ok(());
        };
        load_lanes(warp, access, allocation, at, mask)
    }

    fn store_global(&mut self, warp: &mut Warp, access: &Access, at: &[u64; 32], mask: u32) -> Step {
        let size = usize::from(access.size);
        let bytes = (size * usize::from(access.count)) as u64;
        self.tally.stores.requests += 1;
        self.tally.stores.sectors += sectors(at, mask);
        self.tally.stores.bytes += bytes * u64::from(mask.count_ones());
        let all = self.global.covering(at, bytes, mask);
        for lane in lanes(mask) {
            let allocation = match all {
                Some(allocation) => allocation,
                None => self.global.one(at[lane], bytes, lane, true)?,
            };
            if self.machine.is_constant(at[lane]) {
                return Err(Stop::new(
                    FaultKind::WrongSpace,
                    lane as u32,
                    format!("Write to constant memory at address {:#x}", at[lane]),
                ));
            }
            let offset = allocation.offset(at[lane]);
            for element in 0..usize::from(access.count) {
                let value = warp
                    .registers
                    .lane(&self.machine.pool, access.registers[element], lane)?;
                set(allocation, offset + element * size, size, value);
            }
            allocation.mark_written(at[lane], bytes);
        }
        Ok(())
    }

    fn load_shared(&mut self, warp: &mut Warp, access: &Access, at: &[u64; 32], mask: u32) -> Step {
        let size = usize::from(access.size);
        let bytes = size * usize::from(access.count);
        count_wavefronts(&mut self.tally, at, bytes, mask);
        let mut offsets = [0; 32];
        let mut by = accessor(&self.order, warp.number, 0);
        for lane in lanes(mask) {
            by.thread = warp.number * 32 + lane as u32;
            offsets[lane] = self.shared.read(at[lane], bytes, &by)?;
        }
        for element in 0..usize::from(access.count) {
            let register = access.registers[element];
            if let (Register::W(row), 4) = (register, size)
                && row != NONE
            {
                let to = warp.registers.narrow_for(row, mask);
                for lane in lanes(mask) {
                    to[lane] = self.shared.get(offsets[lane] + element * 4, 4) as u32;
                }
                continue;
            }
            for lane in lanes(mask) {
                let value = self.shared.get(offsets[lane] + element * size, size);
                warp.registers
                    .set_lane(register, lane, extend(value, size, access.signed));
            }
        }
        Ok(())
    }

    fn store_shared(&mut self, warp: &mut Warp, access: &Access, at: &[u64; 32], mask: u32) -> Step {
        let size = usize::from(access.size);
        let bytes = size * usize::from(access.count);
        count_wavefronts(&mut self.tally, at, bytes, mask);
        let pool = &self.machine.pool;
        for lane in lanes(mask) {
            let mut value = [0; 32];
            for element in 0..usize::from(access.count) {
                let bits = warp.registers.lane(pool, access.registers[element], lane)?;
                value[element * size..element * size + 8].copy_from_slice(&bits.to_le_bytes());
            }
            self.shared.write(
                at[lane],
                &value[..bytes],
                &accessor(&self.order, warp.number, lane),
            )?;
        }
        Ok(())
    }

    fn load_parameter(&mut self, warp: &mut Warp, access: &Access, at: &[u64; 32], mask: u32) -> Step {
        let size = usize::from(access.size);
        let parameters = self.machine.launch.parameters;
        for lane in lanes(mask) {
            aligned(at[lane], access, lane, "parameter")?;
            for element in 0..usize::from(access.count) {
                let start = usize::try_from(at[lane])
                    .ok()
                    .and_then(|start| start.checked_add(element * size));
                let bytes = start.and_then(|start| parameters.get(start..start.checked_add(size)?));
                let Some(bytes) = bytes else {
                    let (address, have) = (at[lane], parameters.len());
                    let message = format!(
                        "Access of {size} bytes at parameter address {address:#x} is out of bounds: the launch gave {have} bytes"
                    );
                    return Err(Stop::new(FaultKind::OutOfBounds, lane as u32, message));
                };
                let mut value = [0; 8];
                value[..size].copy_from_slice(bytes);
                let value = extend(u64::from_le_bytes(value), size, access.signed);
                warp.registers.set_lane(access.registers[element], lane, value);
            }
        }
        Ok(())
    }
}

fn aligned(address: u64, access: &Access, lane: usize, space: &str) -> Step {
    let bytes = u64::from(access.size) * u64::from(access.count);
    if address.is_multiple_of(bytes) {
        return Ok(());
    }
    let message = format!("Misaligned access of {bytes} bytes at {space} address {address:#x}");
    Err(Stop::new(FaultKind::Misaligned, lane as u32, message))
}

fn load_lanes(warp: &mut Warp, access: &Access, allocation: &Allocation, at: &[u64; 32], mask: u32) -> Step {
    let size = usize::from(access.size);
    let bytes = (size * usize::from(access.count)) as u64;
    if !allocation.is_all_written() {
        for lane in lanes(mask) {
            if !allocation.is_written(at[lane], bytes) {
                return Err(unwritten(at[lane], bytes, lane));
            }
        }
    }
    for element in 0..usize::from(access.count) {
        let register = access.registers[element];
        match (register, size) {
            (Register::W(NONE), _) => {}
            (Register::W(row), 4) => {
                let to = warp.registers.narrow_for(row, mask);
                if mask == u32::MAX {
                    for lane in 0..32 {
                        to[lane] = allocation.cells.load32(allocation.offset(at[lane]) + element * 4);
                    }
                } else {
                    for lane in lanes(mask) {
                        to[lane] = allocation.cells.load32(allocation.offset(at[lane]) + element * 4);
                    }
                }
            }
            (Register::D(row), 8) => {
                let to = warp.registers.wide_for(row, mask);
                for lane in lanes(mask) {
                    to[lane] = allocation.cells.load64(allocation.offset(at[lane]) + element * 8);
                }
            }
            _ => {
                for lane in lanes(mask) {
                    let value = get(allocation, allocation.offset(at[lane]) + element * size, size);
                    warp.registers
                        .set_lane(register, lane, extend(value, size, access.signed));
                }
            }
        }
    }
    Ok(())
}

fn load_local(warp: &mut Warp, access: &Access, at: &[u64; 32], mask: u32) -> Step {
    let size = usize::from(access.size);
    for lane in lanes(mask) {
        aligned(at[lane], access, lane, "local")?;
        for element in 0..usize::from(access.count) {
            let value = warp.local.load(at[lane] + (element * size) as u64, size, lane)?;
            warp.registers.set_lane(
                access.registers[element],
                lane,
                extend(value, size, access.signed),
            );
        }
    }
    Ok(())
}
