//! The caller's memory and the caller's functions.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    /// Whether this thread executes a host function of a stream, which may not call the driver.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread executes a host function.
pub fn in_callback() -> bool {
    IN_CALLBACK.get()
}

/// A function of the caller's with its argument: `cuLaunchHostFunc`, `cuStreamAddCallback` or a host node.
#[derive(Clone, Copy, Debug)]
pub enum HostCall {
    /// `CUhostFn`.
    Function(extern "C" fn(*mut c_void), usize),
    /// `CUstreamCallback` with the stream's handle.
    Callback(extern "C" fn(u64, i32, *mut c_void), u64, usize),
}

impl HostCall {
    /// Calls it; a callback is told `status`, and a function is called only when there was no error.
    pub fn call(self, status: i32) {
        IN_CALLBACK.set(true);
        // The caller promised that the function accepts this argument from any thread.
        match self {
            Self::Function(function, data) if status == 0 => {
                function(std::ptr::with_exposed_provenance_mut(data));
            }
            Self::Function(..) => {}
            Self::Callback(function, stream, data) => {
                function(stream, status, std::ptr::with_exposed_provenance_mut(data));
            }
        }
        IN_CALLBACK.set(false);
    }
}

/// Copies host memory into `to`. The caller of the driver promised that `from` may be read that far.
pub fn read(from: usize, to: &mut [u8]) {
    let from = std::ptr::with_exposed_provenance::<u8>(from);
    // SAFETY: the API's contract is that the range of a copy may be read until the copy is done. The regions may
    // overlap if the caller passes addresses of managed memory, so this is `copy`.
    unsafe { std::ptr::copy(from, to.as_mut_ptr(), to.len()) }
}

/// Copies `from` into host memory. The caller of the driver promised that `to` may be written that far.
pub fn write(to: usize, from: &[u8]) {
    let to = std::ptr::with_exposed_provenance_mut::<u8>(to);
    // SAFETY: the API's contract is that the range of a copy may be written until the copy is done; see `read`.
    unsafe { std::ptr::copy(from.as_ptr(), to, from.len()) }
}

/// Copies host memory to host memory; the ranges may overlap.
pub fn copy(to: usize, from: usize, bytes: usize) {
    let (to, from) = (
        std::ptr::with_exposed_provenance_mut::<u8>(to),
        std::ptr::with_exposed_provenance::<u8>(from),
    );
    // SAFETY: as in `read` and `write`.
    unsafe { std::ptr::copy(from, to, bytes) }
}

/// Host memory that the driver allocated, page-locked or managed, at an address that kernels can use too.
#[derive(Debug)]
pub struct HostBlock {
    address: usize,
    bytes: usize,
}

/// Where such memory begins: above the cards' own addresses and above where programs are loaded, below PTX's windows.
const WINDOW: usize = 0x6000_0000_0000;

/// Where it ends.
const WINDOW_END: usize = 0x6800_0000_0000;

/// Places that are tried: somebody else's mapping in the window is rare, so a handful of steps passes any.
const TRIES: usize = 64;

/// Distance between blocks, so that an access a little beyond the end meets nothing.
const STEP: usize = 1 << 20;

static NEXT: AtomicUsize = AtomicUsize::new(WINDOW);

impl HostBlock {
    /// Zeroed memory of that many bytes; none if the machine has not as much.
    pub fn new(bytes: usize) -> Option<Self> {
        let span = bytes.max(1).checked_next_multiple_of(STEP)?.checked_add(STEP)?;
        for _ in 0..TRIES {
            let address = NEXT.fetch_add(span, Ordering::Relaxed);
            if address.checked_add(span)? > WINDOW_END {
                return None;
            }
            let flags =
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE;
            let wanted = std::ptr::without_provenance_mut(address);
            // SAFETY: NOREPLACE maps new pages only where nothing is mapped, so no memory of anybody's changes.
            let got = unsafe {
                libc::mmap(
                    wanted,
                    bytes.max(1),
                    libc::PROT_READ | libc::PROT_WRITE,
                    flags,
                    -1,
                    0,
                )
            };
            if got == wanted {
                return Some(Self {
                    address: got.expose_provenance(),
                    bytes: bytes.max(1),
                });
            }
            if got != libc::MAP_FAILED {
                // A kernel older than the flag took the address as a hint.
                // SAFETY: the mapping was made just above, and nobody knows of it.
                unsafe { libc::munmap(got, bytes.max(1)) };
            }
        }
        None
    }

    /// Where it begins.
    pub fn address(&self) -> usize {
        self.address
    }
}

impl Drop for HostBlock {
    fn drop(&mut self) {
        // SAFETY: the mapping is this block's own, of this length, and is unmapped once.
        unsafe { libc::munmap(std::ptr::with_exposed_provenance_mut(self.address), self.bytes) };
    }
}
