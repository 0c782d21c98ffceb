//! Events.

use super::guard::{Out, export};
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::event::Event;
use crate::log;

/// Flags of an event: blocking wait, no timing, between processes.
const BLOCKING_SYNC: u32 = 1;
const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;

fn record(driver: &Driver, event: u64, stream: u64) -> Result<()> {
    let (stream, event) = (driver.stream(stream)?, driver.events.get(event)?);
    driver.record(&event, &stream)
}

/// The event, if its context still works.
fn healthy(driver: &Driver, event: u64) -> Result<std::sync::Arc<Event>> {
    let event = driver.events.get(event)?;
    driver.context(event.context)?.health.check()?;
    Ok(event)
}

export! {
    enter cuEventCreate(event: Out<u64>, flags: u32) |driver| {
        event.wanted()?;
        if flags & !(BLOCKING_SYNC | DISABLE_TIMING | INTERPROCESS) != 0 {
            return Err(Code::INVALID_VALUE);
        }
        if flags & INTERPROCESS != 0 {
            return Err(log::refuse(Code::NOT_SUPPORTED, "cuEventCreate: events between processes are not simulated"));
        }
        let context = driver.current()?;
        event.set(driver.events.add(Event::new(context.handle, flags & DISABLE_TIMING == 0)))
    }

    enter cuEventDestroy_v2(event: u64) |driver| { driver.events.remove(event).map(|_| ()) }

    enter cuEventRecord(event: u64, stream: u64) |driver| { record(driver, event, stream) }

    enter cuEventRecordWithFlags(event: u64, stream: u64, flags: u32) |driver| {
        if flags > 1 {
            return Err(Code::INVALID_VALUE);
        }
        record(driver, event, stream)
    }

    enter cuEventQuery(event: u64) |driver| { healthy(driver, event)?.query() }

    enter cuEventSynchronize(event: u64) |driver| {
        let waited = healthy(driver, event)?;
        log::wait(driver.context(waited.context)?.health.device.ordinal, "event");
        waited.synchronize()?;
        healthy(driver, event).map(|_| ())
    }

    enter cuEventElapsedTime(milliseconds: Out<f32>, start: u64, end: u64) |driver| {
        milliseconds.wanted()?;
        let (start, end) = (healthy(driver, start)?, healthy(driver, end)?);
        milliseconds.set(Event::elapsed(&start, &end)?)
    }

    enter cuEventElapsedTime_v2(milliseconds: Out<f32>, start: u64, end: u64) |driver| {
        milliseconds.wanted()?;
        let (start, end) = (healthy(driver, start)?, healthy(driver, end)?);
        milliseconds.set(Event::elapsed(&start, &end)?)
    }

    enter cuStreamWaitEvent(stream: u64, event: u64, flags: u32) |driver| {
        if flags > 1 {
            return Err(Code::INVALID_VALUE);
        }
        let (stream, event) = (driver.stream(stream)?, driver.events.get(event)?);
        driver.wait_event(&stream, &event)
    }
}
