//! What a model is: hyperparameters, tokenizer, chat template, and the forward pass over any machine.
//!
//! ```text
//! spec ◀ decoder (tensors, load, reserve, forward)      spec ◀ architectures (fields, one file a family)
//! ```
//!
//! Nothing here knows a thread, an instruction set or a network.

pub mod architectures;
pub mod chat;
pub mod decoder;
pub mod spec;
#[cfg(test)]
pub(crate) mod tiny;
pub mod tokenizer;
