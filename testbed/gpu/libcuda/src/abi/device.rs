//! Cards: how many, what they are, and their primary contexts.

use std::ffi::c_char;

use super::guard::{Out, Text, export};
use crate::error::{Code, Result};
use crate::log;

/// Writes a text with its final zero into `length` bytes, cut short if need be.
fn text(into: Out<c_char>, length: i32, what: &str) -> Result<()> {
    into.wanted()?;
    let room = usize::try_from(length)
        .ok()
        .filter(|room| *room > 0)
        .ok_or(Code::INVALID_VALUE)?;
    let bytes = what.bytes().take(room - 1).chain([0]);
    for (place, byte) in bytes.enumerate() {
        into.at(place).maybe(byte.cast_signed());
    }
    Ok(())
}

/// `CUdevprop`, the structure of the deprecated `cuDeviceGetProperties`: eleven limits in order.
type Properties = [i32; 14];

export! {
    enter cuDeviceGet(device: Out<i32>, ordinal: i32) |driver| {
        device.wanted()?;
        device.set(driver.device(ordinal)?.ordinal)
    }

    enter cuDeviceGetCount(count: Out<i32>) |driver| {
        count.set(i32::try_from(driver.devices.len()).unwrap_or(i32::MAX))
    }

    enter cuDeviceGetName(name: Out<c_char>, length: i32, device: i32) |driver| {
        text(name, length, &driver.device(device)?.card.name)
    }

    enter cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: i32) |driver| {
        uuid.set(driver.device(device)?.card.uuid)
    }

    enter cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: i32) |driver| {
        uuid.set(driver.device(device)?.card.uuid)
    }

    enter cuDeviceTotalMem_v2(bytes: Out<usize>, device: i32) |driver| {
        bytes.set(usize::try_from(driver.device(device)?.card.memory).unwrap_or(usize::MAX))
    }

    enter cuDeviceGetAttribute(value: Out<i32>, attribute: i32, device: i32) |driver| {
        value.wanted()?;
        value.set(driver.device(device)?.attribute(attribute)?)
    }

    enter cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, device: i32) |driver| {
        major.wanted()?;
        minor.wanted()?;
        let device = driver.device(device)?;
        major.set(device.attribute(75)?)?;
        minor.set(device.attribute(76)?)
    }

    enter cuDeviceGetProperties(properties: Out<Properties>, device: i32) |driver| {
        let device = driver.device(device)?;
        let mut values = [0; 14];
        // Threads; sides of a block; sides of a grid; shared, constants, warp, pitch, registers, clock, texture
        // alignment.
        for (value, attribute) in values.iter_mut().zip([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]) {
            *value = device.attribute(attribute)?;
        }
        properties.set(values)
    }

    enter cuDeviceGetPCIBusId(id: Out<c_char>, length: i32, device: i32) |driver| {
        text(id, length, &format!("0000:{:02X}:00.0", driver.device(device)?.card.bus))
    }

    enter cuDeviceGetByPCIBusId(device: Out<i32>, id: Text) |driver| {
        device.wanted()?;
        let id = id.utf8()?.to_ascii_uppercase();
        let named = |bus: u32| [format!("0000:{bus:02X}:00.0"), format!("0000:{bus:02X}:00"), format!("{bus:02X}:00.0")];
        let found = driver.devices.iter().find(|device| named(device.card.bus).contains(&id));
        device.set(found.ok_or(Code::INVALID_DEVICE)?.ordinal)
    }

    enter cuDeviceGetP2PAttribute(value: Out<i32>, attribute: i32, source: i32, target: i32) |driver| {
        value.wanted()?;
        let (source, target) = (driver.device(source)?, driver.device(target)?);
        if source.ordinal == target.ordinal {
            return Err(Code::INVALID_DEVICE);
        }
        match attribute {
            1 => value.set(0),
            2..=4 => value.set(i32::from(attribute == 2 && source.can_access(target))),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    enter cuDeviceGetExecAffinitySupport(supported: Out<i32>, _kind: i32, device: i32) |driver| {
        driver.device(device)?;
        supported.set(0)
    }

    enter cuDevicePrimaryCtxRetain(context: Out<u64>, device: i32) |driver| {
        context.wanted()?;
        context.set(driver.retain_primary(driver.device(device)?)?)
    }

    enter cuDevicePrimaryCtxRelease_v2(device: i32) |driver| { driver.release_primary(driver.device(device)?) }
    enter cuDevicePrimaryCtxReset_v2(device: i32) |driver| { driver.reset_primary(driver.device(device)?) }

    enter cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32) |driver| {
        let device = driver.device(device)?;
        super::context::check_flags(flags)?;
        let mut primary = device.primary();
        primary.flags = flags;
        if let Ok(context) = driver.contexts.get(primary.handle) {
            context.flags.store(flags, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }

    enter cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) |driver| {
        flags.wanted()?;
        active.wanted()?;
        let primary = driver.device(device)?.primary();
        flags.set(primary.flags)?;
        active.set(i32::from(primary.handle != 0))
    }

    enter cuDeviceGetLuid(_luid: Out<c_char>, _mask: Out<u32>, device: i32) |driver| {
        driver.device(device)?;
        Err(log::refuse(Code::NOT_SUPPORTED, "cuDeviceGetLuid: only Windows has such ids"))
    }
}
