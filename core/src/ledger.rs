//! The ledger of one channel: reservations and counters.
