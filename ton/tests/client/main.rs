//! The chain client and the readers against the testbed's toncenter v2 endpoint, and against endpoints that lie.

mod channel;
mod faults;
mod hostile;
mod network;
mod quorum;
mod wallet;
