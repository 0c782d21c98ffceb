//! Capture: streams that record a graph instead of working.
//!
//! The rules are those of the CUDA Programming Guide ("Creating a Graph Using Stream Capture", "Prohibited and
//! Unhandled Operations") and of `cuStreamBeginCapture`, `cuThreadExchangeStreamCaptureMode`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use crate::error::{Code, Result};
use crate::graph::Nodes;
use crate::log;
use crate::stream::work::Work;

/// Which calls that might spoil a capture are refused, and for whom. The order is that of `CUstreamCaptureMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everybody's.
    Global,
    /// Those of the thread that captures.
    ThreadLocal,
    /// Nobody's.
    Relaxed,
}

impl Mode {
    /// The mode of a number.
    pub fn of(number: i32) -> Result<Self> {
        match number {
            0 => Ok(Self::Global),
            1 => Ok(Self::ThreadLocal),
            2 => Ok(Self::Relaxed),
            _ => Err(Code::INVALID_VALUE),
        }
    }
}

thread_local! {
    /// How this thread looks at captures: `cuThreadExchangeStreamCaptureMode`.
    static MODE: Cell<Mode> = const { Cell::new(Mode::Global) };
}

/// Sets the calling thread's mode and gives the one before.
pub fn exchange_mode(mode: Mode) -> Mode {
    MODE.replace(mode)
}

/// Captures that have not ended; the count is for those who only want to know that there is none.
static ACTIVE: Mutex<Vec<Arc<Capture>>> = Mutex::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);
static IDS: AtomicU64 = AtomicU64::new(1);

/// The capture that a stream takes part in, if it does.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<Mutex<Option<Arc<Capture>>>>);

impl Slot {
    /// The capture.
    pub fn get(&self) -> Option<Arc<Capture>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Joins a capture or leaves it.
    fn set(&self, capture: Option<Arc<Capture>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = capture;
    }
}

/// A stream as captures know it.
#[derive(Clone, Debug)]
pub struct Participant {
    /// The stream's handle.
    pub handle: u64,
    /// Its context.
    pub context: u64,
    /// Whether the legacy stream and this one do not wait for each other.
    pub non_blocking: bool,
    /// What it takes part in.
    pub capture: Slot,
}

impl Participant {
    /// Whether it is the legacy stream.
    fn is_legacy(&self) -> bool {
        self.handle == 0
    }
}

/// A capture.
#[derive(Debug)]
pub struct Capture {
    /// A number that no other capture of the process has.
    pub id: u64,
    /// The context of its streams.
    pub context: u64,
    mode: Mode,
    thread: ThreadId,
    origin: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    nodes: Nodes,
    /// For each stream that takes part, the nodes that its next one depends on.
    tails: BTreeMap<u64, Vec<usize>>,
    streams: Vec<Participant>,
    invalid: bool,
    ended: bool,
}

impl Capture {
    /// Makes a stream capture.
    pub fn begin(stream: &Participant, mode: Mode) -> Result<()> {
        if stream.is_legacy() {
            return Err(Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        if stream.capture.get().is_some() {
            return Err(Code::ILLEGAL_STATE);
        }
        let capture = Arc::new(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            context: stream.context,
            mode,
            thread: std::thread::current().id(),
            origin: stream.handle,
            state: Mutex::default(),
        });
        capture.join(stream, Vec::new());
        let mut active = active();
        active.push(capture);
        COUNT.store(active.len(), Ordering::Release);
        Ok(())
    }

    /// Ends the capture that began in this stream, and gives its graph.
    pub fn end(stream: &Participant) -> Result<Nodes> {
        let capture = stream.capture.get().ok_or(Code::ILLEGAL_STATE)?;
        if capture.origin != stream.handle {
            capture.invalidate();
            return Err(Code::STREAM_CAPTURE_UNMATCHED);
        }
        if capture.mode != Mode::Relaxed && capture.thread != std::thread::current().id() {
            return Err(Code::STREAM_CAPTURE_WRONG_THREAD);
        }
        let mut active = active();
        active.retain(|other| other.id != capture.id);
        COUNT.store(active.len(), Ordering::Release);
        drop(active);
        let state = std::mem::replace(
            &mut *capture.lock(),
            State {
                ended: true,
                ..State::default()
            },
        );
        for stream in &state.streams {
            stream.capture.set(None);
        }
        if state.invalid {
            return Err(Code::STREAM_CAPTURE_INVALIDATED);
        }
        let joined = state
            .nodes
            .ancestors(state.tails.get(&capture.origin).map_or(&[], Vec::as_slice));
        let mut tails = state.tails.values().flatten();
        if tails.any(|node| !joined.contains(node)) {
            return Err(log::refuse(
                Code::STREAM_CAPTURE_UNJOINED,
                "cuStreamEndCapture: another stream's captured work was not joined to the stream in which the capture began",
            ));
        }
        Ok(state.nodes)
    }

    /// Whether it can still end well.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }

    /// The error of whoever wants to take part in a capture that was spoiled or has ended.
    pub fn check(&self) -> Result<()> {
        let state = self.lock();
        match (state.ended, state.invalid) {
            (true, _) => Err(Code::CAPTURED_EVENT),
            (_, true) => Err(Code::STREAM_CAPTURE_INVALIDATED),
            _ => Ok(()),
        }
    }

    /// Spoils it: from here on its streams refuse everything but the end.
    pub fn invalidate(&self) {
        self.lock().invalid = true;
    }

    /// Adds a node behind what the stream of this handle captured last.
    pub fn add(&self, stream: u64, work: Work) -> Result<()> {
        let mut state = self.lock();
        if state.invalid {
            return Err(Code::STREAM_CAPTURE_INVALIDATED);
        }
        let behind = state.tails.get(&stream).cloned().unwrap_or_default();
        let node = state.nodes.add(work, behind);
        state.tails.insert(stream, vec![node]);
        Ok(())
    }

    /// The nodes that the stream of this handle captured last, for an event to stand for.
    pub fn tail(&self, stream: u64) -> Result<Vec<usize>> {
        let state = self.lock();
        if state.invalid {
            return Err(Code::STREAM_CAPTURE_INVALIDATED);
        }
        Ok(state.tails.get(&stream).cloned().unwrap_or_default())
    }

    /// Makes the stream's next node depend on these too; a stream that does not capture yet takes part from here on.
    pub fn join(self: &Arc<Self>, stream: &Participant, nodes: Vec<usize>) {
        let mut state = self.lock();
        if stream.capture.get().is_none() {
            stream.capture.set(Some(Arc::clone(self)));
            state.streams.push(stream.clone());
        }
        let tail = state.tails.entry(stream.handle).or_default();
        for node in nodes {
            if !tail.contains(&node) {
                tail.push(node);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn active() -> MutexGuard<'static, Vec<Arc<Capture>>> {
    ACTIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses a call that could wait for, or change, what a capture only records: allocations, frees, synchronous copies,
/// module loads. It spoils the captures that forbid it.
pub fn forbid_unsafe(what: &str) -> Result<()> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return Ok(());
    }
    let (here, mine) = (MODE.get(), std::thread::current().id());
    let active = active();
    let forbids = |capture: &&Arc<Capture>| match (here, capture.mode) {
        (Mode::Relaxed, _) | (_, Mode::Relaxed) => false,
        (Mode::Global, Mode::Global) => true,
        (Mode::Global | Mode::ThreadLocal, _) => capture.thread == mine,
    };
    let mut refused = false;
    for capture in active.iter().filter(forbids) {
        capture.invalidate();
        refused = true;
    }
    if refused {
        return Err(log::refuse(
            Code::STREAM_CAPTURE_UNSUPPORTED,
            &format!("{what} is not permitted while a stream captures; the capture is spoiled"),
        ));
    }
    Ok(())
}

/// Refuses work in the legacy stream that blocking streams of its context, which capture now, would have to wait for.
pub fn forbid_implicit(context: u64) -> Result<()> {
    spoil(context, Code::STREAM_CAPTURE_IMPLICIT, |stream| {
        !stream.non_blocking
    })
}

/// Refuses to wait for a context in which a stream captures.
pub fn forbid_waiting(context: u64) -> Result<()> {
    spoil(context, Code::STREAM_CAPTURE_UNSUPPORTED, |_| true)
}

fn spoil(context: u64, code: Code, concerned: fn(&Participant) -> bool) -> Result<()> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return Ok(());
    }
    let mut refused = Ok(());
    for capture in active().iter().filter(|capture| capture.context == context) {
        let mut state = capture.lock();
        if state.streams.iter().any(concerned) {
            state.invalid = true;
            refused = Err(code);
        }
    }
    refused
}
