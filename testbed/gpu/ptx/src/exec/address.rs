//! Addresses of a request, and the windows of the generic address space.

use super::registers::{Pool, Registers};
use super::stop::Step;
use crate::program::{Address, AddressSpace, Base};

/// Generic addresses of shared memory begin here.
pub const SHARED_WINDOW: u64 = 0x7800_0000_0000;
/// Generic addresses of local memory begin here.
pub const LOCAL_WINDOW: u64 = 0x7900_0000_0000;
/// Generic addresses of kernel parameters begin here.
pub const PARAM_WINDOW: u64 = 0x7a00_0000_0000;
/// Bytes of each window.
pub const WINDOW_BYTES: u64 = 1 << 32;

/// What a generic address points to.
#[inline]
pub fn space_of(address: u64) -> AddressSpace {
    let within = |start: u64| address.wrapping_sub(start) < WINDOW_BYTES;
    if within(SHARED_WINDOW) {
        AddressSpace::Shared
    } else if within(LOCAL_WINDOW) {
        AddressSpace::Local
    } else if within(PARAM_WINDOW) {
        AddressSpace::Param
    } else {
        AddressSpace::Global
    }
}

/// Where a space's generic addresses begin.
pub fn window(space: AddressSpace) -> u64 {
    match space {
        AddressSpace::Shared => SHARED_WINDOW,
        AddressSpace::Local => LOCAL_WINDOW,
        AddressSpace::Param => PARAM_WINDOW,
        _ => 0,
    }
}

/// The addresses of the lanes.
#[inline]
pub fn addresses(
    registers: &Registers,
    pool: &Pool,
    address: &Address,
    frame: u32,
    lanes: u32,
) -> Step<[u64; 32]> {
    let mut found = [0; 32];
    let offset = address.offset.cast_unsigned();
    match address.base {
        Base::Zero => found = [offset; 32],
        Base::Frame => found = [offset.wrapping_add(u64::from(frame)); 32],
        Base::W(row) => {
            let base = registers.narrow(pool, row, lanes)?;
            for lane in 0..32 {
                // An address of 32 bits stays one: its sum with the offset does not carry beyond them.
                found[lane] = u64::from(base[lane].wrapping_add(offset as u32));
            }
        }
        Base::D(row) => {
            let base = registers.wide(pool, row, lanes)?;
            for lane in 0..32 {
                found[lane] = base[lane].wrapping_add(offset);
            }
        }
    }
    Ok(found)
}
