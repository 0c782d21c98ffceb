//! Executes programs: blocks one after the other on each host thread, warps of a block in turn, lanes together.
//!
//! ```text
//! Machine (a launch; shared by host threads) ─ Block ─ Warp ─ Group (lanes at one place) ─ step
//! ```

mod address;
mod atomic;
mod barrier;
mod block;
mod call;
mod collective;
mod compare;
mod copy;
mod engine;
mod generic;
mod global;
mod grid;
mod group;
mod local;
mod machine;
mod mask;
mod matrix;
mod memory;
mod registers;
mod scalar;
mod scheduler;
mod shared;
mod special;
mod stop;
mod tally;
mod warp;

pub use machine::Machine;
