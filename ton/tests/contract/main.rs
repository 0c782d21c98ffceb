//! The channel contract and wallet v5r1 on a real TVM, by theme. Every message goes through wallets, as on the
//! public network; time is the test's own.

mod attacks;
mod close;
mod deposit;
mod gas;
mod model;
mod redeem;
mod wallet;
mod world;
