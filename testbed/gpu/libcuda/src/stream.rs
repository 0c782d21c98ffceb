//! Streams: queues whose work is done in order.
//!
//! ```text
//! submit ─ capturing? ─► a node of the graph
//!        └ idle, and the work can be done now? ─► done by who submits it
//!        └ else ─► queued; a thread works the queue off and ends
//! ```
//!
//! Work is done as early as it may be, and by the submitting thread where nothing has to be waited for. Kernels of two
//! streams therefore never overlap in one thread's program, which the documentation allows: concurrency is never
//! promised. A host function, and what is queued behind one, runs on a thread of its own.

pub mod capture;
pub mod mark;
pub mod submit;
pub mod work;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::context::health::Health;
use crate::error::Code;
use crate::log;
use capture::{Capture, Participant, Slot};
use mark::Mark;
use work::Work;

/// Streams of the process that are at work: while there is none, nobody has to wait for another stream.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// A stream.
#[derive(Debug)]
pub struct Stream {
    /// Its handle: 0 for the legacy stream, 2 for a thread's own, or one of the table's.
    pub handle: u64,
    /// Its context.
    pub context: u64,
    /// Whether that context still works.
    pub health: Arc<Health>,
    /// Whether the legacy stream and this one do not wait for each other.
    pub non_blocking: bool,
    /// Its priority; lower is more urgent.
    pub priority: i32,
    queue: Mutex<Queue>,
    idle: Condvar,
    capture: Slot,
}

#[derive(Debug, Default)]
struct Queue {
    pending: VecDeque<Work>,
    /// Whether some thread does this stream's work now.
    running: bool,
}

impl Stream {
    /// An idle stream.
    pub fn new(handle: u64, context: u64, health: Arc<Health>, non_blocking: bool, priority: i32) -> Self {
        Self {
            handle,
            context,
            health,
            non_blocking,
            priority,
            queue: Mutex::default(),
            idle: Condvar::new(),
            capture: Slot::default(),
        }
    }

    /// Whether it is the legacy stream, which waits for all blocking streams of its context and they for it.
    pub fn is_legacy(&self) -> bool {
        self.handle == 0
    }

    /// The capture that it takes part in.
    pub fn capture(&self) -> Option<Arc<Capture>> {
        self.capture.get()
    }

    /// The stream as captures know it.
    pub fn participant(&self) -> Participant {
        Participant {
            handle: self.handle,
            context: self.context,
            non_blocking: self.non_blocking,
            capture: self.capture.clone(),
        }
    }

    /// Does the work now, or queues it behind what is pending.
    pub fn enqueue(self: &Arc<Self>, work: Work) {
        self.enqueue_as(work, |work| work);
    }

    /// The same; what `kept` makes of the work is queued in its place. Answers whether it was done.
    pub fn enqueue_as(self: &Arc<Self>, work: Work, kept: impl FnOnce(Work) -> Work) -> bool {
        let mut queue = self.lock();
        let is_done = !queue.running && work.immediate();
        if is_done {
            queue.running = true;
            BUSY.fetch_add(1, Ordering::AcqRel);
            drop(queue);
            self.perform(&work);
            queue = self.lock();
            queue.running = false;
            BUSY.fetch_sub(1, Ordering::AcqRel);
        } else {
            queue.pending.push_back(kept(work));
        }
        if queue.pending.is_empty() {
            self.idle.notify_all();
        } else if !queue.running {
            queue.running = true;
            drop(queue);
            self.start();
        }
        is_done
    }

    /// Whether work is pending or being done.
    pub fn is_busy(&self) -> bool {
        let queue = self.lock();
        queue.running || !queue.pending.is_empty()
    }

    /// Waits until all is done that was submitted.
    pub fn drain(&self) {
        let busy = |queue: &mut Queue| queue.running || !queue.pending.is_empty();
        drop(
            self.idle
                .wait_while(self.lock(), busy)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// A mark behind all that was submitted; none if the stream is idle.
    pub fn tail(self: &Arc<Self>) -> Option<Arc<Mark>> {
        if BUSY.load(Ordering::Acquire) == 0 || !self.is_busy() {
            return None;
        }
        let mark = Arc::new(Mark::default());
        self.enqueue(Work::Record(Arc::clone(&mark)));
        Some(mark)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works the queue off on a thread of its own; on this one if the machine gives no thread.
    fn start(self: &Arc<Self>) {
        BUSY.fetch_add(1, Ordering::AcqRel);
        let stream = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name("cuda-stream".into())
            .spawn(move || stream.work_off());
        if let Err(problem) = started {
            log::say(&format!(
                "cannot start a thread for a stream, so its work is done in place: {problem}"
            ));
            self.work_off();
        }
    }

    fn work_off(&self) {
        loop {
            let mut queue = self.lock();
            let Some(work) = queue.pending.pop_front() else {
                queue.running = false;
                BUSY.fetch_sub(1, Ordering::AcqRel);
                self.idle.notify_all();
                return;
            };
            drop(queue);
            self.perform(&work);
        }
    }

    /// Does one piece of work. A panic makes the context unusable, but leaves the queue in order.
    fn perform(&self, work: &Work) {
        let run = AssertUnwindSafe(|| work.run(&self.health));
        if catch_unwind(run).is_err() {
            let what = "a stream's work panicked, which is a fault of this library";
            self.health.fail(log::refuse(Code::UNKNOWN, what));
        }
    }
}
