//! End-to-end tests: the real operator, agents, Kubernetes and TVM, one namespace for each test.
//!
//! They run one after the other (`--test-threads=1`): some take every GPU of the cluster, or pause the chain.

mod bad_input;
mod deletion;
mod exactly_once;
mod first_job;
mod receipts;
mod waiting;

use std::future::Future;

use anyhow::Result;
use e2e::{namespace::with_namespace, stack::Stack};

/// Runs a test on the stack, in a namespace of its own.
fn on_stack<F, T>(name: &str, test: T) -> Result<()>
where
    F: Future<Output = Result<()>>,
    T: FnOnce(Stack, String) -> F,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stack = Stack::connect().await?;
        with_namespace(&stack, name, |namespace| test(stack.clone(), namespace)).await
    })
}
