//! A TON network in one process, speaking the toncenter v2 HTTP API.
//!
//! Contracts run on a real TVM, fees come from a real configuration, and a client built for the public endpoints works
//! unmodified. What is left out is what one process does not need: validators, consensus, more than one shard, proofs.
//!
//! # Layers
//!
//! ```text
//! chain     the state machine: accounts, messages, blocks, getters. Pure: time is an argument, nothing is written
//! store     its state on disk: snapshots and a journal of blocks
//! network   one chain, its clock, its disk and its faults, behind one lock
//! server    HTTP: /api/v2 as toncenter, /faucet, /testbed
//! serve     listeners and block production until told to stop
//! testing   all of that inside a test
//! ```
//!
//! Each knows only those above it. `chain` must not know clocks, disks or JSON of the endpoint; `server` must not
//! change state but through `network`.
//!
//! # A message's way
//!
//! 1. `sendBoc` checks an external message as a lite-server does: its contract runs on the current state until it
//!    accepts. A refusal is an error that names the exit code, and leaves no trace.
//! 2. It waits in the mempool, which a restart forgets, and is taken by the next block. It may still fail there:
//!    acceptance is not payment.
//! 3. Messages that contracts send are delivered one block later, so that a payment through a wallet and a contract
//!    takes three blocks.
//!
//! # Time
//!
//! Blocks carry the machine's time, moved ahead by `/testbed/advance` and never backwards. Getters and checks run at
//! the time of the newest block.
//!
//! # Routes
//!
//! ```text
//! POST /api/v2/jsonRPC               every method of server::METHODS, as JSON-RPC
//! GET, POST /api/v2/<method>         the same by query string or JSON body
//! POST /faucet                       {"address", "nano"}: pays, and answers when the payment has arrived
//! GET  /testbed/status               block, time, mempool, totals, faults
//! POST /testbed/blocks               {"paused": bool}: messages are let in, blocks are not made
//! POST /testbed/advance              {"seconds": n}: moves chain time forward
//! GET, POST /testbed/faults          {"dropSends", "duplicateSends", "lostReplies", "unavailable", "staleReads", "lies"}
//! ```
//!
//! # Invariants
//!
//! - After every block, in nanoTON: issued = balances + under way + collected + burned.
//! - A block is on disk before anybody sees its effects, and applying its record again gives the same state.
//! - No bytes from outside make this crate panic.

pub mod chain;
pub mod faults;
pub mod network;
pub mod serve;
pub mod server;
pub mod store;
pub mod testing;
#[cfg(test)]
mod wallet;
