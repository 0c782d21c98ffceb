//! A pool of threads for many short jobs a millisecond.
//!
//! A job is cut into chunks that threads claim one by one, so a thread that the operating system has taken off its
//! core delays nothing but the chunk in its hands. The caller works too, and waits only for threads that joined
//! the job: a thread that sleeps through it is not missed. Idle threads spin for a while, then sleep.

#![expect(
    unsafe_code,
    reason = "lends a closure and disjoint parts of a slice to other threads"
)]

use std::{
    cell::UnsafeCell,
    marker::PhantomData,
    num::NonZeroUsize,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

/// Looks at the job word before an idle thread sleeps: about 0.2 ms, longer than the pause between two products of one
/// token and the sampling between two tokens, far shorter than the pause between two requests.
const SPINS_BEFORE_SLEEP: u32 = 4096;
/// Looks at the job word before a waiting caller lets another thread have the core.
const SPINS_BEFORE_YIELD: u32 = 256;

/// Job word: number of the job above, whether it may be joined, and how many threads are in it below.
const OPEN: u64 = 1 << 31;
const MEMBERS: u64 = OPEN - 1;
const NUMBER: u32 = 32;

/// Work on `(thread, chunk)`.
type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

#[derive(Clone, Copy)]
struct Job {
    work: *const Work<'static>,
    chunks: usize,
}

struct Shared {
    word: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    next_chunk: AtomicUsize,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
    panicked: AtomicBool,
}

// SAFETY: `job` is written only while the word is closed and without members, and read only by members.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is followed only by members of an open job, while `Pool::run` keeps its closure alive.
unsafe impl Send for Shared {}

/// The threads. Dropping it ends them.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads - 1` threads; the caller of [`Pool::run`] is the remaining one.
    pub(super) fn start(threads: NonZeroUsize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            word: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next_chunk: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let mut pool = Self {
            shared,
            threads: Vec::new(),
        };
        for thread in 1..threads.get() {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("compute-{thread}"));
            pool.threads.push(builder.spawn(move || shared.serve(thread))?);
        }
        Ok(pool)
    }

    /// Threads that work on a job, the caller included.
    pub(super) fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Calls `work(thread, chunk)` once for every chunk, from this and other threads, and returns when all are done.
    ///
    /// `&mut self` is not needed: jobs of one pool must not overlap, and its only owner runs one at a time.
    ///
    /// # Panics
    /// A chunk panicked.
    pub(super) fn run(&self, chunks: usize, work: &Work<'_>) {
        if chunks <= 1 || self.threads.is_empty() {
            (0..chunks).for_each(|chunk| work(0, chunk));
            return;
        }
        let job = self.shared.open(work, chunks);
        for chunk in self.shared.claims(chunks) {
            work(0, chunk);
        }
        drop(job);
        assert!(
            !self.shared.panicked.load(Ordering::Acquire),
            "a compute thread panicked"
        );
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.shared.sleep.lock());
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a compute thread ended with a panic");
            }
        }
    }
}

/// An open job; closes it and waits for its members when dropped, also when the caller's chunk panics.
struct OpenJob<'a> {
    shared: &'a Shared,
    work: PhantomData<&'a Work<'a>>,
}

impl Drop for OpenJob<'_> {
    fn drop(&mut self) {
        self.shared.word.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while self.shared.word.load(Ordering::Acquire) & MEMBERS != 0 {
            spins += 1;
            if spins % SPINS_BEFORE_YIELD == 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

impl Shared {
    fn open<'a>(&'a self, work: &'a Work<'a>, chunks: usize) -> OpenJob<'a> {
        let number = (self.word.load(Ordering::Acquire) >> NUMBER).wrapping_add(1);
        // SAFETY: only the lifetime changes; `OpenJob` outlives every use and borrows `work`.
        let work: *const Work<'static> =
            unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        // SAFETY: the word is closed and has no members, since the `OpenJob` before was dropped.
        unsafe { *self.job.get() = Some(Job { work, chunks }) };
        self.next_chunk.store(0, Ordering::Relaxed);
        self.word.store(number << NUMBER | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.sleep.lock());
            self.wake.notify_all();
        }
        OpenJob {
            shared: self,
            work: PhantomData,
        }
    }

    /// Chunks that nobody else has claimed.
    fn claims(&self, chunks: usize) -> impl Iterator<Item = usize> {
        std::iter::from_fn(move || {
            Some(self.next_chunk.fetch_add(1, Ordering::Relaxed)).filter(|chunk| *chunk < chunks)
        })
    }

    /// A thread's life.
    fn serve(&self, thread: usize) {
        let mut last = 0;
        while let Some(number) = self.wait(last) {
            last = number;
            self.join(thread, number);
        }
    }

    /// The number of a job after `last`, or `None` when the pool ends.
    fn wait(&self, last: u64) -> Option<u64> {
        let fresh = || {
            let word = self.word.load(Ordering::SeqCst);
            (word & OPEN != 0 && word >> NUMBER != last).then_some(word >> NUMBER)
        };
        let mut spins = 0;
        loop {
            if let Some(number) = fresh() {
                return Some(number);
            }
            if self.stop.load(Ordering::Acquire) {
                return None;
            }
            spins += 1;
            if spins < SPINS_BEFORE_SLEEP {
                std::hint::spin_loop();
                continue;
            }
            let guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            if fresh().is_none() && !self.stop.load(Ordering::SeqCst) {
                drop(self.wake.wait(guard));
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            spins = 0;
        }
    }

    /// Works on job `number` if it is still open.
    fn join(&self, thread: usize, number: u64) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & OPEN == 0 || word >> NUMBER != number {
                return;
            }
            match self
                .word
                .compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => break,
                Err(seen) => word = seen,
            }
        }
        let member = Member(self);
        // SAFETY: this thread is a member, so the job is not replaced until `member` is dropped.
        let job = unsafe { *self.job.get() };
        if let Some(Job { work, chunks }) = job {
            // SAFETY: `OpenJob::drop` waits for this member before the closure's borrow ends.
            let run = unsafe { &*work };
            for chunk in self.claims(chunks) {
                run(thread, chunk);
            }
        }
        drop(member);
    }
}

/// Membership in an open job; leaves when dropped, also when a chunk panics.
struct Member<'a>(&'a Shared);

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.store(true, Ordering::Release);
        }
        self.0.word.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A slice whose parts different chunks write.
pub(super) struct Parts<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: `part` is the only access, and its callers ask for disjoint parts.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            length: slice.len(),
            slice: PhantomData,
        }
    }

    /// `length` elements from `start` on.
    ///
    /// # Safety
    /// No element is part of two calls whose results live at the same time.
    #[expect(clippy::mut_from_ref, reason = "the caller promises disjoint parts")]
    pub(super) unsafe fn part(&self, start: usize, length: usize) -> &mut [T] {
        assert!(
            start + length <= self.length,
            "part {start}+{length} of {}",
            self.length
        );
        // SAFETY: in bounds by the assertion, and not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::start(NonZeroUsize::new(threads).expect("positive")).expect("threads start")
    }

    #[test]
    fn every_chunk_of_many_jobs_runs_once() {
        let pool = pool(3);
        let mut counts = vec![0u32; 64];
        for round in 1..=2000 {
            let parts = Parts::new(&mut counts);
            // SAFETY: each chunk takes its own element.
            pool.run(64, &|_, chunk| unsafe { parts.part(chunk, 1)[0] += 1 });
            assert!(counts.iter().all(|count| *count == round));
        }
    }

    #[test]
    fn a_panic_in_a_chunk_reaches_the_caller() {
        let pool = pool(2);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(8, &|_, _| panic!("planted"));
        }));
        assert!(outcome.is_err());
    }
}
