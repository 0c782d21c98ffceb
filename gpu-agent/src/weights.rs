//! A model file's tensors: the container format, the encodings, and one tensor read at a time.
//!
//! The lowest layer: nothing here knows an architecture or a machine.

pub mod file;
pub mod finite;
pub mod gguf;
pub mod quants;
