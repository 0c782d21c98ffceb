//! Contexts and the calling thread's stack of them.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::guard::{Out, export};
use crate::context::{LIMITS, pop, push, set, top};
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::stream::capture;

/// Flags that a context can have: scheduling, mapped memory, local memory, core dumps, synchronous memory operations.
const FLAGS: u32 = 0xff;

/// Refuses flags that do not exist, or two ways of scheduling at a time.
pub fn check_flags(flags: u32) -> Result<()> {
    if flags & !FLAGS != 0 || !matches!(flags & 7, 0 | 1 | 2 | 4) {
        return Err(Code::INVALID_VALUE);
    }
    Ok(())
}

fn create(driver: &Driver, context: Out<u64>, flags: u32, device: i32) -> Result<()> {
    context.wanted()?;
    check_flags(flags)?;
    let handle = driver
        .create_context(driver.device(device)?, false, flags)?
        .handle;
    push(handle);
    context.set(handle)
}

/// The place of a limit in the array; some exist in the API and not on these cards.
fn limit(number: i32) -> Result<usize> {
    match usize::try_from(number) {
        Ok(place) if place < LIMITS => Ok(place),
        Ok(7..=10) => Err(Code::UNSUPPORTED_LIMIT),
        _ => Err(Code::INVALID_VALUE),
    }
}

export! {
    enter cuCtxCreate_v2(context: Out<u64>, flags: u32, device: i32) |driver| { create(driver, context, flags, device) }

    enter cuCtxCreate_v3(context: Out<u64>, _affinity: Out<u8>, affinities: i32, flags: u32, device: i32) |driver| {
        if affinities != 0 {
            return Err(Code::UNSUPPORTED_EXEC_AFFINITY);
        }
        create(driver, context, flags, device)
    }

    enter cuCtxCreate_v4(context: Out<u64>, parameters: Out<u8>, flags: u32, device: i32) |driver| {
        if parameters.given() {
            return Err(Code::NOT_SUPPORTED);
        }
        create(driver, context, flags, device)
    }

    enter cuCtxDestroy_v2(context: u64) |driver| {
        if driver.context(context)?.primary {
            return Err(Code::INVALID_CONTEXT);
        }
        driver.destroy_context(context)
    }

    enter cuCtxPushCurrent_v2(context: u64) |driver| {
        driver.context(context)?;
        push(context);
        Ok(())
    }

    enter cuCtxPopCurrent_v2(context: Out<u64>) |_driver| {
        let popped = pop().ok_or(Code::INVALID_CONTEXT)?;
        context.maybe(popped);
        Ok(())
    }

    enter cuCtxSetCurrent(context: u64) |driver| {
        if context != 0 {
            driver.context(context)?.health.check()?;
        }
        set(context);
        Ok(())
    }

    enter cuCtxGetCurrent(context: Out<u64>) |_driver| { context.set(top()) }

    enter cuCtxGetDevice(device: Out<i32>) |driver| {
        device.wanted()?;
        device.set(driver.bound()?.device().ordinal)
    }

    enter cuCtxGetFlags(flags: Out<u32>) |driver| {
        flags.wanted()?;
        flags.set(driver.bound()?.flags.load(Ordering::Relaxed))
    }

    enter cuCtxSetFlags(flags: u32) |driver| {
        check_flags(flags)?;
        driver.current()?.flags.store(flags, Ordering::Relaxed);
        Ok(())
    }

    enter cuCtxGetId(context: u64, id: Out<u64>) |driver| {
        id.wanted()?;
        let context = if context == 0 { driver.bound()? } else { driver.context(context)? };
        id.set(context.handle)
    }

    enter cuCtxGetApiVersion(context: u64, version: Out<u32>) |driver| {
        version.wanted()?;
        if context == 0 { driver.bound()? } else { driver.context(context)? };
        version.set(3_020)
    }

    enter cuCtxSynchronize() |driver| {
        let context = driver.current()?;
        driver.synchronize_context(&context)
    }

    enter cuCtxGetLimit(value: Out<usize>, number: i32) |driver| {
        value.wanted()?;
        let context = driver.current()?;
        let limits = context.limits.lock().unwrap_or_else(PoisonError::into_inner);
        value.set(limits[limit(number)?])
    }

    enter cuCtxSetLimit(number: i32, value: usize) |driver| {
        let context = driver.current()?;
        let place = limit(number)?;
        capture::forbid_unsafe("cuCtxSetLimit")?;
        context.limits.lock().unwrap_or_else(PoisonError::into_inner)[place] = value;
        Ok(())
    }

    enter cuCtxGetCacheConfig(config: Out<i32>) |driver| {
        config.wanted()?;
        config.set(driver.current()?.cache.load(Ordering::Relaxed))
    }

    enter cuCtxSetCacheConfig(config: i32) |driver| {
        if !(0..=3).contains(&config) {
            return Err(Code::INVALID_VALUE);
        }
        driver.current()?.cache.store(config, Ordering::Relaxed);
        Ok(())
    }

    enter cuCtxGetSharedMemConfig(config: Out<i32>) |driver| {
        config.wanted()?;
        driver.current()?;
        config.set(1)
    }

    enter cuCtxSetSharedMemConfig(_config: i32) |driver| { driver.current().map(|_| ()) }
    enter cuCtxResetPersistingL2Cache() |driver| { driver.current().map(|_| ()) }

    enter cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) |driver| {
        driver.current()?;
        least.maybe(0);
        greatest.maybe(super::stream::MOST_URGENT);
        Ok(())
    }
}
