//! Memory in stream order, and the pools that it comes from.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::guard::{In, Out, export};
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::log;
use crate::memory::Kind;
use crate::memory::pool::Pool;
use crate::stream::work::Work;

/// What is read of `CUmemPoolProps`: allocation type, handle types, location (type, id), a pointer, the most bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct PoolProps {
    allocation: i32,
    handles: i32,
    location: i32,
    id: i32,
    security: usize,
    most: usize,
    rest: [u8; 56],
}

fn allocate(driver: &Driver, pointer: Out<u64>, bytes: usize, pool: u64, stream: u64) -> Result<()> {
    pointer.wanted()?;
    let stream = driver.stream(stream)?;
    if stream.capture().is_some() {
        stream.refuse_while_capturing().map_err(|code| {
            log::refuse(
                code,
                "an allocation in a capturing stream would be a memory node, which this library has not",
            )
        })?;
    }
    let pool_handle = if pool == 0 {
        stream.health.device.pool.load(Ordering::Relaxed)
    } else {
        pool
    };
    let pool = driver.pools.get(pool_handle)?;
    let device = driver.device(pool.device)?;
    let size = bytes as u64;
    if !pool.allows(size) {
        return Err(Code::OUT_OF_MEMORY);
    }
    let made = driver.allocations.on_device(
        stream.context,
        device,
        size,
        Kind::Pool(Arc::clone(&pool), pool_handle),
    )?;
    pool.took(size);
    super::peer::lend(driver, &made);
    pointer.set(made.address)
}

export! {
    enter cuMemAllocAsync(pointer: Out<u64>, bytes: usize, stream: u64) |driver| {
        allocate(driver, pointer, bytes, 0, stream)
    }

    enter cuMemAllocFromPoolAsync(pointer: Out<u64>, bytes: usize, pool: u64, stream: u64) |driver| {
        if pool == 0 {
            return Err(Code::INVALID_VALUE);
        }
        allocate(driver, pointer, bytes, pool, stream)
    }

    enter cuMemFreeAsync(pointer: u64, stream: u64) |driver| {
        let stream = driver.stream(stream)?;
        if pointer == 0 {
            return Ok(());
        }
        // A mistake is reported to who makes it, not to who synchronises later.
        let found = driver.allocations.holder(pointer).filter(|found| {
            found.address == pointer && matches!(found.kind, Kind::Device | Kind::Pool(..))
        });
        if found.is_none() {
            let what = format!("cuMemFreeAsync: {pointer:#x} is not the start of a live allocation of device memory");
            return Err(log::refuse(Code::INVALID_VALUE, &what));
        }
        if stream.capture().is_some() {
            return stream.refuse_while_capturing();
        }
        driver.submit(&stream, Work::Free(Arc::clone(&driver.allocations), pointer))
    }

    enter cuDeviceGetDefaultMemPool(pool: Out<u64>, device: i32) |driver| {
        pool.wanted()?;
        pool.set(driver.device(device)?.default_pool.get().copied().unwrap_or(0))
    }

    enter cuDeviceGetMemPool(pool: Out<u64>, device: i32) |driver| {
        pool.wanted()?;
        pool.set(driver.device(device)?.pool.load(Ordering::Relaxed))
    }

    enter cuDeviceSetMemPool(device: i32, pool: u64) |driver| {
        let device = driver.device(device)?;
        if driver.pools.get(pool)?.device != device.ordinal {
            return Err(Code::INVALID_VALUE);
        }
        device.pool.store(pool, Ordering::Relaxed);
        Ok(())
    }

    enter cuMemPoolCreate(pool: Out<u64>, properties: In<PoolProps>) |driver| {
        pool.wanted()?;
        let properties = properties.get()?;
        // Pinned memory of a device: the only kind that the documentation of 12.2 allows.
        if properties.allocation != 1 || properties.location != 1 {
            return Err(Code::INVALID_VALUE);
        }
        if properties.handles != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        let device = driver.device(properties.id)?;
        pool.set(driver.pools.add(Pool::new(device.ordinal, false, properties.most as u64)))
    }

    enter cuMemPoolDestroy(pool: u64) |driver| {
        if driver.pools.get(pool)?.default {
            return Err(Code::INVALID_VALUE);
        }
        let gone = driver.pools.remove(pool)?;
        let device = driver.device(gone.device)?;
        // A card whose current pool goes takes its default pool again.
        let default = device.default_pool.get().copied().unwrap_or(0);
        let _ = device.pool.compare_exchange(pool, default, Ordering::Relaxed, Ordering::Relaxed);
        Ok(())
    }

    enter cuMemPoolTrimTo(pool: u64, _keep: usize) |driver| { driver.pools.get(pool).map(|_| ()) }

    enter cuMemPoolGetAttribute(pool: u64, attribute: i32, value: Out<u64>) |driver| {
        value.wanted()?;
        let found = driver.pools.get(pool)?.attribute(attribute)?;
        if Pool::is_flag(attribute) {
            value.cast::<i32>().set(i32::from(found != 0))
        } else {
            value.set(found)
        }
    }

    enter cuMemPoolSetAttribute(pool: u64, attribute: i32, value: In<u64>) |driver| {
        let pool = driver.pools.get(pool)?;
        let value = if Pool::is_flag(attribute) {
            u64::from(value.bytes(4)?.iter().any(|byte| *byte != 0))
        } else {
            value.get()?
        };
        pool.set_attribute(attribute, value)
    }
}
