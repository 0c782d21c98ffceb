//! Waiting for what should become true: a condition and a limit, never a fixed time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use kube::{Api, Resource};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::sleep;

/// What does not become true within this time, on two busy cores, never will.
pub const LIMIT: Duration = Duration::from_mins(2);
/// What a software GPU computes becomes true within this time: it takes about a second of one core for each token of
/// the demo's model, and the demo's job has some 400.
pub const SOFTWARE_GPU_LIMIT: Duration = Duration::from_mins(15);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(200);

/// Looks until `look` answers `Some`.
pub async fn until<T, F>(what: &str, look: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    within(LIMIT, what, look).await
}

/// Looks until `look` answers `Some`, for at most `limit`.
pub async fn within<T, F>(limit: Duration, what: &str, look: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    let mut last_error = None;
    while start.elapsed() < limit {
        match look().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => last_error = None,
            Err(error) => last_error = Some(error),
        }
        sleep(INTERVAL).await;
    }
    match last_error {
        Some(error) => Err(error.context(format!("waited {limit:?} in vain: {what}"))),
        None => bail!("waited {limit:?} in vain: {what}"),
    }
}

/// Waits until the object satisfies `holds`; on failure the error shows the object as it was last.
pub async fn object<K>(api: &Api<K>, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    object_within(LIMIT, api, name, what, holds).await
}

/// Like [`object`], for at most `limit`.
pub async fn object_within<K>(
    limit: Duration,
    api: &Api<K>,
    name: &str,
    what: &str,
    holds: impl Fn(&K) -> bool,
) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let result = within(limit, what, || async {
        Ok(api.get_opt(name).await?.filter(|object| holds(object)))
    })
    .await;
    match result {
        Ok(object) => Ok(object),
        Err(error) => {
            let last = api.get_opt(name).await?;
            Err(error.context(format!("{name} is {}", serde_json::to_string_pretty(&last)?)))
        }
    }
}

/// Waits until the object is gone.
pub async fn gone<K>(api: &Api<K>, name: &str, limit: Duration) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let result = within(limit, &format!("{name} is gone"), || async {
        Ok(api.get_opt(name).await?.is_none().then_some(()))
    })
    .await;
    match result {
        Ok(()) => Ok(()),
        Err(error) => {
            let last = api.get_opt(name).await?;
            Err(error.context(format!("{name} is {}", serde_json::to_string_pretty(&last)?)))
        }
    }
}
