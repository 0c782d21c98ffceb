//! Runs one test on the stack.

use std::future::Future;

use anyhow::Result;

use crate::{namespace::with_namespace, stack::Stack};

/// Runs a test on the stack, in a namespace of its own.
pub fn on_stack<F, T>(name: &str, test: T) -> Result<()>
where
    F: Future<Output = Result<()>>,
    T: FnOnce(Stack, String) -> F,
{
    on_bare_stack(|stack| async move {
        with_namespace(&stack, name, |namespace| test(stack.clone(), namespace)).await
    })
}

/// Runs a test on the stack.
pub fn on_bare_stack<F, T>(test: T) -> Result<()>
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
