//! End-to-end tests: the real operator, agents, Kubernetes and TVM, one namespace for each test.
//!
//! They run one after the other (`--test-threads=1`): some take every GPU of the cluster, or pause the chain. The order
//! is that of their names, so that `when_all_is_done` is the last.

mod bad_input;
mod budgets;
mod command_line;
mod cuda;
mod dashboard;
mod deletion;
mod documents;
mod downloads;
mod exactly_once;
mod first_hour;
mod first_job;
mod model_files;
mod nodes;
mod payout;
mod policies;
mod privacy;
mod vouchers;
mod waiting;
mod when_all_is_done;

use e2e::{
    receipts,
    run::{on_bare_stack, on_stack},
};
