//! What a model is: hyperparameters, tokenizer, chat template, and the forward pass over any machine.
//!
//! Nothing here knows a thread, an instruction set or a network.

pub mod chat;
pub mod config;
pub mod llama;
pub mod tokenizer;
