//! NVIDIA GPUs: how weights lie in device memory, and how kernels are launched.
//!
//! The kernels are in `gpu-agent/kernels`, compiled ahead to PTX; see the README there.

pub mod launch;
pub mod layout;
