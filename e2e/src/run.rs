//! Runs one test on the stack.

use std::{future::Future, panic::AssertUnwindSafe};

use anyhow::Result;
use futures::FutureExt as _;

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

/// Runs `test`, and then `restore` whatever happened.
pub async fn and_then_restore<F, R>(test: F, restore: impl FnOnce() -> R) -> Result<()>
where
    F: Future<Output = Result<()>>,
    R: Future<Output = Result<()>>,
{
    let outcome = AssertUnwindSafe(test).catch_unwind().await;
    let restored = restore().await;
    match outcome {
        Ok(result) => result.and(restored),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
