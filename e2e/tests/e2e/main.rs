//! End-to-end tests: the real operator, agents, Kubernetes and TVM, one namespace for each test.
//!
//! They run one after the other (`--test-threads=1`): some take every GPU of the cluster, or pause the chain. The order
//! is that of their names, so that `when_all_is_done` is the last.

mod bad_input;
mod budgets;
mod command_line;
mod deletion;
mod exactly_once;
mod first_job;
mod model_files;
mod nodes;
mod privacy;
mod receipts;
mod vouchers;
mod waiting;
mod when_all_is_done;

use std::future::Future;

use anyhow::Result;
use e2e::{namespace::with_namespace, stack::Stack};

/// Runs a test on the stack, in a namespace of its own.
fn on_stack<F, T>(name: &str, test: T) -> Result<()>
where
    F: Future<Output = Result<()>>,
    T: FnOnce(Stack, String) -> F,
{
    on_bare_stack(|stack| async move {
        with_namespace(&stack, name, |namespace| test(stack.clone(), namespace)).await
    })
}

/// Runs a test on the stack.
fn on_bare_stack<F, T>(test: T) -> Result<()>
where
    F: Future<Output = Result<()>>,
    T: FnOnce(Stack) -> F,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async { test(Stack::connect().await?).await })
}
