//! NVIDIA GPUs: the operations of a forward pass on a card, by our own kernels through the driver alone.
//!
//! ```text
//! error ◀ layout, library ◀ launch, modules, sample ◀ rates, pinned ◀ device ◀ ring, hop, recording, forecast, probe,
//! selftest ◀ memory ◀ staging ◀ ops
//! ```
//!
//! The kernels are in `gpu-agent/kernels`, compiled ahead to PTX; see the README there. `launch` and `layout` are pure:
//! the tests of the kernels use them with a card in software.

pub mod device;
pub mod error;
pub mod forecast;
pub mod hop;
pub mod launch;
pub mod layout;
mod library;
pub mod modules;
pub mod ops;
mod pinned;
pub mod probe;
pub mod rates;
mod recording;
mod ring;
pub mod sample;
pub mod selftest;
mod staging;
