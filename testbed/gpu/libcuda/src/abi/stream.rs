//! Streams, the functions of programs in them, and capture.

use std::ffi::c_void;
use std::sync::Arc;

use super::guard::{Out, export};
use super::host::HostCall;
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::graph::Graph;
use crate::stream::Stream;
use crate::stream::capture::{self, Capture, Mode};
use crate::stream::work::Work;

/// The most urgent priority; 0 is the least urgent. Cards since Volta have these.
pub const MOST_URGENT: i32 = -5;

fn create(driver: &Driver, stream: Out<u64>, flags: u32, priority: i32) -> Result<()> {
    stream.wanted()?;
    if flags > 1 {
        return Err(Code::INVALID_VALUE);
    }
    let context = driver.current()?;
    let handle = driver.streams.reserve();
    // Priorities outside of the range are moved into it, as documented.
    let priority = priority.clamp(MOST_URGENT, 0);
    let made = Stream::new(
        handle,
        context.handle,
        Arc::clone(&context.health),
        flags == 1,
        priority,
    );
    driver.streams.insert(handle, Arc::new(made));
    stream.set(handle)
}

/// A stream's status in captures: none, active, invalidated.
fn status(stream: &Stream) -> (i32, u64) {
    stream.capture().map_or((0, 0), |capture| {
        (if capture.is_valid() { 1 } else { 2 }, capture.id)
    })
}

export! {
    enter cuStreamCreate(stream: Out<u64>, flags: u32) |driver| { create(driver, stream, flags, 0) }

    enter cuStreamCreateWithPriority(stream: Out<u64>, flags: u32, priority: i32) |driver| {
        create(driver, stream, flags, priority)
    }

    enter cuStreamDestroy_v2(stream: u64) |driver| {
        // Pending work is still done: whoever does it holds the stream.
        let gone = driver.streams.remove(stream)?;
        if let Some(capture) = gone.capture() {
            capture.invalidate();
        }
        Ok(())
    }

    enter cuStreamSynchronize(stream: u64) |driver| {
        let stream = driver.stream(stream)?;
        driver.synchronize(&stream)
    }

    enter cuStreamQuery(stream: u64) |driver| {
        let stream = driver.stream(stream)?;
        stream.refuse_while_capturing()?;
        if stream.is_busy() { Err(Code::NOT_READY) } else { Ok(()) }
    }

    enter cuStreamGetPriority(stream: u64, priority: Out<i32>) |driver| {
        priority.wanted()?;
        priority.set(driver.stream(stream)?.priority)
    }

    enter cuStreamGetFlags(stream: u64, flags: Out<u32>) |driver| {
        flags.wanted()?;
        flags.set(driver.stream(stream)?.non_blocking.into())
    }

    enter cuStreamGetId(stream: u64, id: Out<u64>) |driver| {
        id.wanted()?;
        let found = driver.stream(stream)?;
        id.set(if found.handle <= 2 { found.context + found.handle } else { found.handle })
    }

    enter cuStreamGetCtx(stream: u64, context: Out<u64>) |driver| {
        context.wanted()?;
        context.set(driver.stream(stream)?.context)
    }

    enter cuStreamAttachMemAsync(stream: u64, pointer: u64, _length: usize, flags: u32) |driver| {
        driver.stream(stream)?;
        if !matches!(flags, 1 | 2 | 4) || (flags == 4 && stream == 0) {
            return Err(Code::INVALID_VALUE);
        }
        driver.allocations.holder(pointer).map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    enter cuLaunchHostFunc(stream: u64, function: Option<extern "C" fn(*mut c_void)>, data: usize) |driver| {
        let stream = driver.stream(stream)?;
        let function = function.ok_or(Code::INVALID_VALUE)?;
        driver.submit(&stream, Work::Host(HostCall::Function(function, data)))
    }

    enter cuStreamAddCallback(
        handle: u64,
        function: Option<extern "C" fn(u64, i32, *mut c_void)>,
        data: usize,
        flags: u32,
    ) |driver| {
        let stream = driver.stream(handle)?;
        let function = function.filter(|_| flags == 0).ok_or(Code::INVALID_VALUE)?;
        stream.refuse_while_capturing()?;
        driver.submit(&stream, Work::Host(HostCall::Callback(function, handle, data)))
    }

    enter cuStreamBeginCapture_v2(stream: u64, mode: i32) |driver| {
        Capture::begin(&driver.stream(stream)?.participant(), Mode::of(mode)?)
    }

    enter cuStreamEndCapture(stream: u64, graph: Out<u64>) |driver| {
        graph.wanted()?;
        graph.set(0)?;
        let nodes = Capture::end(&driver.stream(stream)?.participant())?;
        graph.set(driver.graphs.add(Graph::new(nodes)))
    }

    enter cuStreamIsCapturing(stream: u64, capturing: Out<i32>) |driver| {
        capturing.wanted()?;
        let stream = driver.stream(stream)?;
        if stream.is_legacy() {
            capture::forbid_implicit(stream.context)?;
        }
        capturing.set(status(&stream).0)
    }

    enter cuStreamGetCaptureInfo_v2(
        stream: u64,
        capturing: Out<i32>,
        id: Out<u64>,
        graph: Out<u64>,
        nodes: Out<usize>,
        count: Out<usize>,
    ) |driver| {
        capturing.wanted()?;
        let (now, capture) = status(&*driver.stream(stream)?);
        capturing.set(now)?;
        id.maybe(capture);
        // A graph that is still being captured has no handle here.
        if graph.given() || nodes.given() || count.given() {
            graph.maybe(0);
            nodes.maybe(0);
            count.maybe(0);
        }
        Ok(())
    }

    enter cuThreadExchangeStreamCaptureMode(mode: Out<i32>) |_driver| {
        let wanted = Mode::of(mode.read()?)?;
        mode.set(capture::exchange_mode(wanted) as i32)
    }
}
