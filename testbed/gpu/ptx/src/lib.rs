//! A CUDA card's multiprocessors in software: parses PTX up to ISA version 8.0 and executes its kernels, a warp at a
//! time, with every checker on. It is written from NVIDIA's public documentation of PTX ("Parallel Thread Execution
//! ISA", 8.0).
//!
//! ```text
//! text ─ Module::parse ─► Module ─ place ─► addresses of its variables ─┐
//! Memory (allocations, host reads and writes) ──────────────────────────┴─ run(Launch) ─► Counters, or a Fault
//! ```
//!
//! What a card leaves undefined stops the launch here with kernel, PTX line, block and thread: accesses out of bounds,
//! misaligned, freed or in the wrong space, reads of memory or registers never written, races on shared memory, and
//! barriers or masks that some threads miss.
//!
//! Operations that PTX calls approximate (`ex2.approx`, `rcp.approx`, `sin.approx`, `div.full`, …) give the correctly
//! rounded result of their function. A card's last bits may differ from that.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "arithmetic on bits of several widths is this crate's subject"
)]
#![expect(
    clippy::float_cmp,
    clippy::neg_cmp_op_on_partial_ord,
    clippy::many_single_char_names,
    clippy::precedence,
    reason = "PTX defines its operations on exact values and NaN, bit by bit, with operands a, b, c and d"
)]
#![expect(
    clippy::match_same_arms,
    reason = "tables follow the order of the PTX ISA, not that of their right sides"
)]
#![expect(
    clippy::similar_names,
    reason = "caller and callee are the words for the two sides of a call"
)]
#![expect(
    clippy::unnecessary_box_returns,
    reason = "a fault is rare and large; results on the hot path stay one word"
)]

mod arith;
mod check;
mod cost;
mod counters;
mod decode;
mod error;
mod exec;
mod fault;
mod launch;
mod memory;
mod modifiers;
mod module;
mod parse;
mod program;
mod run;

pub use cost::{CARDS, Card, Estimate, Rates};
pub use counters::{Class, Classes, Counters, SharedTraffic, Traffic};
pub use error::{ParseError, ParseErrorKind};
pub use fault::{Fault, FaultKind};
pub use launch::{Launch, LaunchError, Limits};
pub use memory::{ALIGNMENT, AccessError, GLOBAL_BASE, GLOBAL_END, Memory, OutOfMemory};
pub use module::{Capability, Kernel, Module, Parameter, Space, Variable};
pub use run::{RunError, run};
