//! `libcuda.so.1` without a GPU: NVIDIA's CUDA driver API over a PTX machine in software, written from NVIDIA's public
//! documentation ("CUDA Driver API", "CUDA C++ Programming Guide").
//!
//! ```text
//! program ─► abi ─► context, stream, graph, memory, module ─► launch ─► testbed-ptx
//!            │      (safe: values, tables, no addresses       │
//!            │       of the caller's followed)                └► log
//!            └ all unsafe code: the caller's addresses and functions
//! ```
//!
//! What it is, how it is configured and what it cannot show is in this crate's README.md.

mod abi;
mod config;
mod context;
mod device;
mod driver;
mod error;
mod event;
mod graph;
mod handle;
mod launch;
mod log;
mod memory;
mod module;
mod stream;
