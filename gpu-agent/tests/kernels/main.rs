//! Every kernel against its twin in plain Rust, bit by bit, on cards in software that check every step.

mod attention;
mod bugs;
mod card;
mod product;
mod random;
mod rows;
mod sampling;
