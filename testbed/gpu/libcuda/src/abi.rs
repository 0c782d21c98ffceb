//! The C side: exported functions, the caller's addresses and the caller's functions. All unsafe code is here.
//!
//! Each file exports one part of the driver API. A function checks its addresses, looks its handles up, and calls safe
//! code; [`guard`] keeps panics from crossing into C.
#![expect(
    unsafe_code,
    reason = "a C library exports symbols, and reads and writes where its caller says"
)]

mod base;
mod context;
mod copy;
mod device;
mod entry_points;
mod events;
mod graph;
mod graph_nodes;
mod guard;
pub mod host;
mod launch;
mod memory;
mod module;
mod peer;
mod pool;
mod stream;
