//! What a model file says: format, shape, tokenizer, chat template, and the forward pass over any machine.
//!
//! Nothing here knows a thread, an instruction set or a network.

pub mod chat;
pub mod config;
pub mod file;
pub mod gguf;
pub mod llama;
pub mod quants;
pub mod tokenizer;
