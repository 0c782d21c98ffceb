//! Attacks on the money, end to end: each test is named by the claim that must hold against it.
//!
//! They run as the other end-to-end tests do, one after the other, on a stack that is there.

mod coverage;
mod evidence;
mod free;
mod grants;
mod impostor;
mod ledger;
mod pages;
mod squatting;
mod steps;

use e2e::run::on_stack;
