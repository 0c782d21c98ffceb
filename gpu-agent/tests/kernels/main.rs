//! Every kernel against its twin in plain Rust, bit by bit, on cards in software that check every step.

mod attention;
mod bugs;
mod card;
mod choice;
mod efficiency;
mod product;
mod rows;
mod sampling;

use gpu_agent::backend::cuda::selftest::random;
