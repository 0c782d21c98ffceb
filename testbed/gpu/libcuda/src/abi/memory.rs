//! Memory of cards and of the host.

use std::sync::Arc;

use super::guard::{In, Out, export};
use super::host::HostBlock;
use crate::context::Context;
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::log;
use crate::memory::{Allocation, Kind};
use crate::stream::capture;

/// Flags of page-locked memory: for all contexts, mapped, write-combined. All of it is mapped here, and none combined.
const HOST_FLAGS: u32 = 7;
/// Flags of registered memory: for all contexts, mapped, I/O, read-only.
const REGISTER_FLAGS: u32 = 15;

/// The current context, for a call that no capture may see.
fn outside_capture(driver: &Driver, what: &str) -> Result<Arc<Context>> {
    let context = driver.current()?;
    capture::forbid_unsafe(what)?;
    Ok(context)
}

fn on_card(driver: &Driver, pointer: Out<u64>, bytes: usize) -> Result<()> {
    pointer.wanted()?;
    let context = outside_capture(driver, "cuMemAlloc")?;
    let made = driver
        .allocations
        .on_device(context.handle, context.device(), bytes as u64, Kind::Device)?;
    super::peer::lend(driver, &made);
    pointer.set(made.address)
}

fn pinned(driver: &Driver, pointer: Out<usize>, bytes: usize, flags: u32) -> Result<()> {
    pointer.wanted()?;
    if bytes == 0 || flags & !HOST_FLAGS != 0 {
        return Err(Code::INVALID_VALUE);
    }
    let context = outside_capture(driver, "cuMemHostAlloc")?;
    let block = HostBlock::new(bytes).ok_or(Code::OUT_OF_MEMORY)?;
    let address = block.address();
    driver.allocations.on_host(
        context.handle,
        context.device(),
        bytes as u64,
        Kind::Pinned(block, flags),
    )?;
    pointer.set(address)
}

/// The page-locked or registered memory that a host address lies in.
fn host_memory(driver: &Driver, address: usize) -> Result<Arc<Allocation>> {
    let found = driver
        .allocations
        .holder(address as u64)
        .ok_or(Code::INVALID_VALUE)?;
    if matches!(found.kind, Kind::Pinned(..) | Kind::Registered(..)) {
        Ok(found)
    } else {
        Err(Code::INVALID_VALUE)
    }
}

/// Waits for the work of all streams of a context, as freeing does.
fn settle(driver: &Driver, context: &Context) {
    for stream in context.streams(&driver.streams) {
        stream.drain();
    }
}

export! {
    enter cuMemAlloc_v2(pointer: Out<u64>, bytes: usize) |driver| { on_card(driver, pointer, bytes) }

    enter cuMemAllocPitch_v2(pointer: Out<u64>, pitch: Out<usize>, width: usize, height: usize, element: u32) |driver| {
        pitch.wanted()?;
        if !matches!(element, 4 | 8 | 16) {
            return Err(Code::INVALID_VALUE);
        }
        let row = width.checked_next_multiple_of(512).ok_or(Code::INVALID_VALUE)?;
        on_card(driver, pointer, row.checked_mul(height).ok_or(Code::INVALID_VALUE)?)?;
        pitch.set(row)
    }

    enter cuMemFree_v2(pointer: u64) |driver| {
        let context = outside_capture(driver, "cuMemFree")?;
        if pointer == 0 {
            return Ok(());
        }
        settle(driver, &context);
        let freed = |kind: &Kind| matches!(kind, Kind::Device | Kind::Pool(..) | Kind::Managed(_));
        driver.allocations.release(pointer, freed, "cuMemFree")
    }

    enter cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) |driver| {
        free.wanted()?;
        total.wanted()?;
        let context = driver.current()?;
        free.set(usize::try_from(context.device().free()?).unwrap_or(usize::MAX))?;
        total.set(usize::try_from(context.device().card.memory).unwrap_or(usize::MAX))
    }

    enter cuMemGetAddressRange_v2(base: Out<u64>, size: Out<usize>, pointer: u64) |driver| {
        driver.current()?;
        let found = driver.allocations.holder(pointer).ok_or(Code::NOT_FOUND)?;
        base.maybe(found.address);
        size.maybe(usize::try_from(found.size).unwrap_or(usize::MAX));
        Ok(())
    }

    enter cuMemAllocHost_v2(pointer: Out<usize>, bytes: usize) |driver| { pinned(driver, pointer, bytes, 0) }
    enter cuMemHostAlloc(pointer: Out<usize>, bytes: usize, flags: u32) |driver| { pinned(driver, pointer, bytes, flags) }

    enter cuMemFreeHost(address: usize) |driver| {
        let context = outside_capture(driver, "cuMemFreeHost")?;
        settle(driver, &context);
        driver.allocations.release(address as u64, |kind| matches!(kind, Kind::Pinned(..)), "cuMemFreeHost")
    }

    enter cuMemHostRegister_v2(address: usize, bytes: usize, flags: u32) |driver| {
        if address == 0 || bytes == 0 || flags & !REGISTER_FLAGS != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let context = outside_capture(driver, "cuMemHostRegister")?;
        let end = (address as u64).checked_add(bytes as u64).ok_or(Code::INVALID_VALUE)?;
        let overlaps = |found: &Allocation| found.host().is_some_and(|start| {
            (start as u64) < end && (address as u64) < start as u64 + found.size
        });
        if !driver.allocations.all(overlaps).is_empty() {
            return Err(Code::HOST_MEMORY_ALREADY_REGISTERED);
        }
        let kind = Kind::Registered(address, flags);
        driver.allocations.on_host(context.handle, context.device(), bytes as u64, kind).map(|_| ())
    }

    enter cuMemHostUnregister(address: usize) |driver| {
        let context = outside_capture(driver, "cuMemHostUnregister")?;
        let found = driver.allocations.holder(address as u64).filter(|found| found.host() == Some(address));
        let found = found.ok_or(Code::HOST_MEMORY_NOT_REGISTERED)?;
        settle(driver, &context);
        let registered = |kind: &Kind| matches!(kind, Kind::Registered(..));
        driver.allocations.release(found.address, registered, "cuMemHostUnregister")
    }

    enter cuMemHostGetDevicePointer_v2(pointer: Out<u64>, address: usize, flags: u32) |driver| {
        pointer.wanted()?;
        driver.current()?;
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let found = host_memory(driver, address)?;
        pointer.set(found.address + (address - found.host().unwrap_or(address)) as u64)
    }

    enter cuMemHostGetFlags(flags: Out<u32>, address: usize) |driver| {
        flags.wanted()?;
        driver.current()?;
        match host_memory(driver, address)?.kind {
            Kind::Pinned(_, given) | Kind::Registered(_, given) => flags.set(given),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    enter cuMemAllocManaged(pointer: Out<u64>, bytes: usize, flags: u32) |driver| {
        pointer.wanted()?;
        if bytes == 0 || !matches!(flags, 1 | 2) {
            return Err(Code::INVALID_VALUE);
        }
        let context = outside_capture(driver, "cuMemAllocManaged")?;
        let block = HostBlock::new(bytes).ok_or(Code::OUT_OF_MEMORY)?;
        let kind = Kind::Managed(block);
        let made = driver.allocations.on_host(context.handle, context.device(), bytes as u64, kind)?;
        pointer.set(made.address)
    }

    enter cuMemAdvise(pointer: u64, bytes: usize, advice: i32, _device: i32) |driver| {
        advise(driver, pointer, bytes, advice)
    }

    enter cuMemAdvise_v2(pointer: u64, bytes: usize, advice: i32, _location: u64) |driver| {
        advise(driver, pointer, bytes, advice)
    }

    enter cuMemPrefetchAsync(pointer: u64, bytes: usize, device: i32, stream: u64) |driver| {
        prefetch(driver, pointer, bytes, device == -1, stream)
    }

    enter cuMemPrefetchAsync_v2(pointer: u64, bytes: usize, location: u64, flags: u32, stream: u64) |driver| {
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        // A location is a type and a number; type 1 is a card.
        prefetch(driver, pointer, bytes, location & 0xffff_ffff != 1, stream)
    }

    enter cuPointerGetAttribute(data: Out<u64>, attribute: i32, pointer: u64) |driver| {
        data.wanted()?;
        let found = driver.allocations.holder(pointer).ok_or(Code::INVALID_VALUE)?;
        attribute_of(&found, pointer, attribute, data)
    }

    enter cuPointerGetAttributes(count: u32, attributes: In<i32>, data: In<Out<u64>>, pointer: u64) |driver| {
        let found = driver.allocations.holder(pointer);
        for place in 0..count as usize {
            let (attribute, into) = (attributes.at(place)?, data.at(place)?);
            // The documentation leaves what it cannot answer at zero or null.
            let answered = found.as_ref().map(|found| attribute_of(found, pointer, attribute, into));
            match answered {
                Some(Ok(())) => {}
                _ if wide(attribute) => into.maybe(0),
                _ => into.cast::<u32>().maybe(0),
            }
        }
        Ok(())
    }

    enter cuPointerSetAttribute(value: In<u32>, attribute: i32, pointer: u64) |driver| {
        value.get()?;
        driver.allocations.holder(pointer).ok_or(Code::INVALID_VALUE)?;
        // Synchronous memory operations: all are, as far as anybody can see.
        if attribute == 6 { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    enter cuImportExternalMemory(_memory: Out<u64>, _description: In<u8>) |_driver| {
        Err(log::refuse(Code::NOT_SUPPORTED, "cuImportExternalMemory: there is no other API whose memory this could be"))
    }

    enter cuDestroyExternalMemory(_memory: u64) |_driver| { Err(Code::INVALID_HANDLE) }

    enter cuExternalMemoryGetMappedBuffer(_pointer: Out<u64>, _memory: u64, _description: In<u8>) |_driver| {
        Err(Code::INVALID_HANDLE)
    }
}

/// The managed memory of a range.
fn managed(driver: &Driver, pointer: u64, bytes: usize) -> Result<Arc<Allocation>> {
    driver.current()?;
    let found = driver
        .allocations
        .holder(pointer)
        .filter(|found| matches!(found.kind, Kind::Managed(_)));
    let found = found.ok_or(Code::INVALID_VALUE)?;
    let fits = (pointer - found.address)
        .checked_add(bytes as u64)
        .is_some_and(|end| end <= found.size);
    if bytes > 0 && fits {
        Ok(found)
    } else {
        Err(Code::INVALID_VALUE)
    }
}

fn advise(driver: &Driver, pointer: u64, bytes: usize, advice: i32) -> Result<()> {
    managed(driver, pointer, bytes)?;
    if (1..=6).contains(&advice) {
        Ok(())
    } else {
        Err(Code::INVALID_VALUE)
    }
}

/// A card without concurrent managed access is no place to fetch to.
fn prefetch(driver: &Driver, pointer: u64, bytes: usize, to_host: bool, stream: u64) -> Result<()> {
    managed(driver, pointer, bytes)?;
    driver.stream(stream)?;
    if to_host {
        Ok(())
    } else {
        Err(Code::INVALID_DEVICE)
    }
}

/// Whether an attribute's value has eight bytes.
fn wide(attribute: i32) -> bool {
    matches!(attribute, 1 | 3 | 4 | 5 | 7 | 11 | 12 | 14 | 17 | 18 | 19)
}

/// Writes the value of a `CUpointer_attribute`, in the size that its documentation says.
fn attribute_of(found: &Allocation, pointer: u64, attribute: i32, data: Out<u64>) -> Result<()> {
    let host = found.host();
    let value = match attribute {
        1 => found.context,
        // CU_MEMORYTYPE_HOST or CU_MEMORYTYPE_DEVICE.
        2 => {
            if matches!(found.kind, Kind::Pinned(..) | Kind::Registered(..)) {
                1
            } else {
                2
            }
        }
        3 => match found.kind {
            Kind::Registered(start, _) if pointer < found.address => found.address + (pointer - start as u64),
            _ => pointer,
        },
        4 => match host {
            Some(start) => start as u64 + pointer.wrapping_sub(found.address),
            None => return Err(Code::INVALID_VALUE),
        },
        6 | 13 => 1,
        7 => found.id,
        8 => u64::from(matches!(found.kind, Kind::Managed(_))),
        9 => found.device.ordinal.try_into().unwrap_or(0),
        10 | 14 | 15 => 0,
        11 => found.address,
        12 => found.size,
        16 => 3,
        17 => {
            if let Kind::Pool(_, pool) = found.kind {
                pool
            } else {
                0
            }
        }
        _ => return Err(Code::INVALID_VALUE),
    };
    if wide(attribute) {
        data.maybe(value);
    } else if matches!(attribute, 8 | 10 | 13 | 15) {
        // The documentation names these boolean; a program may hand in a `bool` or an `int`, and the first byte is
        // both.
        data.cast::<u8>().maybe(u8::try_from(value).unwrap_or(1));
    } else {
        data.cast::<u32>().maybe(u32::try_from(value).unwrap_or(u32::MAX));
    }
    Ok(())
}
