//! NVIDIA GPUs: the operations of a forward pass on a card, by our own kernels through the driver alone.
//!
//! ```text
//! error ◀ layout ◀ launch, modules ◀ device ◀ ring, recording ◀ memory ◀ staging ◀ ops
//! ```
//!
//! The kernels are in `gpu-agent/kernels`, compiled ahead to PTX; see the README there. `launch` and `layout` are pure: the
//! tests of the kernels use them with a card in software.

pub mod device;
pub mod error;
pub mod launch;
pub mod layout;
pub mod modules;
pub mod ops;
mod recording;
mod ring;
mod staging;
