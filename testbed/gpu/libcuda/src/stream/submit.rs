//! What is submitted to a stream, with the order between streams that it brings.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Stream;
use super::capture::{self, Capture};
use super::mark::Mark;
use super::work::Work;
use crate::context::Context;
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::event::{Event, Recorded};
use crate::graph::Exec;
use crate::log;
use crate::memory::copy::Copy;

/// The legacy stream by its other name, and the calling thread's own stream.
const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;

impl Driver {
    /// The stream of a handle, for work of the current context.
    pub fn stream(&self, handle: u64) -> Result<Arc<Stream>> {
        match handle {
            0 | LEGACY => Ok(Arc::clone(self.current()?.legacy())),
            PER_THREAD => Ok(self.current()?.per_thread()),
            _ => {
                let stream = self.streams.get(handle)?;
                stream.health.check()?;
                Ok(stream)
            }
        }
    }

    /// Submits work: a node if the stream captures, otherwise done or queued behind what the stream has to wait for.
    pub fn submit(&self, stream: &Arc<Stream>, work: Work) -> Result<()> {
        stream.health.check()?;
        if let Some(capture) = stream.capture() {
            return capture.add(stream.handle, work);
        }
        self.order(stream)?;
        stream.enqueue(work);
        Ok(())
    }

    /// Submits a copy to a stream that does not capture. Where it is queued, `takes` has the host's bytes taken along,
    /// and `waits` lets the call return only once it is done. Whether it is queued is known only now: other threads
    /// submit to the stream, and its own order may make it wait.
    pub fn submit_copy(&self, stream: &Arc<Stream>, copy: Copy, takes: bool, waits: bool) -> Result<()> {
        stream.health.check()?;
        self.order(stream)?;
        let is_done = stream.enqueue_as(Work::Copy(copy), |work| match work {
            Work::Copy(copy) if takes => Work::Copy(copy.staged()),
            work => work,
        });
        if is_done || !waits {
            return Ok(());
        }
        self.synchronize(stream)
    }

    /// Submits all work of a graph to a stream. A stream keeps one order, so dependencies hold as they stand.
    pub fn launch_graph(&self, exec: &Exec, stream: &Arc<Stream>) -> Result<()> {
        let work: Vec<_> = exec.nodes().list().iter().map(|node| node.work.clone()).collect();
        for work in work {
            if let Work::Kernel(launching) = &work {
                launching.in_graph.store(true, Ordering::Relaxed);
            }
            self.submit(stream, work)?;
        }
        Ok(())
    }

    /// Makes a stream wait for those that the legacy stream's rule names.
    fn order(&self, stream: &Arc<Stream>) -> Result<()> {
        if stream.non_blocking {
            return Ok(());
        }
        let context = self.context(stream.context)?;
        if stream.is_legacy() {
            capture::forbid_implicit(context.handle)?;
            for other in self.blocking(&context) {
                if let Some(mark) = other.tail() {
                    stream.enqueue(Work::Wait(mark));
                }
            }
        } else if let Some(mark) = context.legacy().tail() {
            stream.enqueue(Work::Wait(mark));
        }
        Ok(())
    }

    /// Streams that the legacy stream waits for.
    fn blocking(&self, context: &Context) -> Vec<Arc<Stream>> {
        if super::BUSY.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut streams = context.streams(&self.streams);
        streams.retain(|stream| !stream.non_blocking && !stream.is_legacy());
        streams
    }

    /// Waits until a stream is done; refused while it captures.
    pub fn synchronize(&self, stream: &Arc<Stream>) -> Result<()> {
        stream.refuse_while_capturing()?;
        self.order(stream)?;
        log::wait(stream.health.device.ordinal, "stream");
        stream.drain();
        stream.health.check()
    }

    /// Waits until all streams of a context are done.
    pub fn synchronize_context(&self, context: &Context) -> Result<()> {
        capture::forbid_waiting(context.handle)?;
        log::wait(context.health.device.ordinal, "context");
        for stream in context.streams(&self.streams) {
            stream.drain();
        }
        context.health.check()
    }

    /// Records an event behind what the stream was given.
    pub fn record(&self, event: &Event, stream: &Arc<Stream>) -> Result<()> {
        if event.context != stream.context {
            return Err(Code::INVALID_HANDLE);
        }
        if let Some(capture) = stream.capture() {
            let tail = capture.tail(stream.handle)?;
            event.record(Recorded::Captured(capture, tail));
            return Ok(());
        }
        let mark = Arc::new(Mark::default());
        event.record(Recorded::Marked(Arc::clone(&mark)));
        self.submit(stream, Work::Record(mark))
    }

    /// Makes a stream wait for an event. An event of a capture draws the stream into it.
    pub fn wait_event(&self, stream: &Arc<Stream>, event: &Event) -> Result<()> {
        match (event.recorded(), stream.capture()) {
            (Recorded::Captured(capture, nodes), own) => {
                wait_captured(stream, &capture, nodes, own.as_deref())
            }
            (Recorded::Marked(_), Some(own)) => {
                own.invalidate();
                Err(Code::STREAM_CAPTURE_ISOLATION)
            }
            (Recorded::Marked(mark), None) => self.submit(stream, Work::Wait(mark)),
            (Recorded::Nothing, _) => Ok(()),
        }
    }
}

impl Stream {
    /// Refuses, and spoils the capture, if the stream captures.
    pub fn refuse_while_capturing(&self) -> Result<()> {
        match self.capture() {
            None => Ok(()),
            Some(capture) if !capture.is_valid() => Err(Code::STREAM_CAPTURE_INVALIDATED),
            Some(capture) => {
                capture.invalidate();
                Err(Code::STREAM_CAPTURE_UNSUPPORTED)
            }
        }
    }
}

/// Draws a stream into the capture that an event belongs to.
fn wait_captured(
    stream: &Arc<Stream>,
    capture: &Arc<Capture>,
    nodes: Vec<usize>,
    own: Option<&Capture>,
) -> Result<()> {
    capture.check()?;
    if stream.is_legacy() {
        capture.invalidate();
        return Err(Code::STREAM_CAPTURE_IMPLICIT);
    }
    if let Some(own) = own.filter(|own| own.id != capture.id) {
        own.invalidate();
        capture.invalidate();
        return Err(Code::STREAM_CAPTURE_MERGE);
    }
    if stream.context != capture.context {
        capture.invalidate();
        return Err(Code::STREAM_CAPTURE_ISOLATION);
    }
    capture.join(&stream.participant(), nodes);
    Ok(())
}
