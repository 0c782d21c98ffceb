//! A namespace for one test, removed afterwards whatever happens.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::{CocoonProvider, InferenceJob, PaymentChannel};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{Kind, stack::Stack, wait};

/// Names of all namespaces of tests begin so.
const PREFIX: &str = "e2e-";
/// A namespace is removed within this time, with everything in it.
const REMOVAL_LIMIT: Duration = Duration::from_secs(90);
/// Objects that Kubernetes' garbage collector takes away in a second at least: it sends 20 requests a second
/// (`--kube-api-qps` of kube-controller-manager), and an object costs it one to delete and at times one to look at its
/// owner.
const COLLECTED_A_SECOND: u32 = 10;

/// Runs `test` in a namespace of its own. A test that fails or panics leaves nothing behind.
pub async fn with_namespace<F>(stack: &Stack, name: &str, test: impl FnOnce(String) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    with_large_namespace(stack, name, 0, test).await
}

/// The same, where the test leaves so many jobs whose results are to be collected.
pub async fn with_large_namespace<F>(
    stack: &Stack,
    name: &str,
    jobs: u32,
    test: impl FnOnce(String) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let limit = REMOVAL_LIMIT + Duration::from_secs((jobs / COLLECTED_A_SECOND).into());
    let namespaces: Api<Namespace> = Api::all(stack.client.clone());
    let metadata = ObjectMeta {
        generate_name: Some(format!("{PREFIX}{name}-")),
        ..ObjectMeta::default()
    };
    let namespace = namespaces
        .create(
            &PostParams::default(),
            &Namespace {
                metadata,
                ..Namespace::default()
            },
        )
        .await
        .context("could not create a namespace")?
        .name_any();
    let outcome = AssertUnwindSafe(test(namespace.clone())).catch_unwind().await;
    let failed = !matches!(outcome, Ok(Ok(())));
    if failed {
        // A failed test may have left the chain paused, and money that cannot be settled.
        let _ = stack.pause_blocks(false).await;
        abandon_all(stack, &namespace).await;
    }
    let removed = remove(stack, &namespaces, &namespace, limit).await;
    match outcome {
        Ok(result) => result.and(removed),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Waits until every namespace of a test is gone. Kubernetes begins with one only five seconds after its deletion, so
/// that nobody waits for each.
pub async fn all_removed(stack: &Stack) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(stack.client.clone());
    wait::within(REMOVAL_LIMIT, "every namespace of a test is gone", || async {
        let all = namespaces.list(&ListParams::default()).await?.items;
        let left: Vec<String> = all
            .iter()
            .map(kube::ResourceExt::name_any)
            .filter(|name| name.starts_with(PREFIX))
            .collect();
        ensure!(
            left.is_empty(),
            "{} are left; where a run before was interrupted, `./x down` removes them",
            left.join(", ")
        );
        Ok(Some(()))
    })
    .await
}

async fn remove(stack: &Stack, namespaces: &Api<Namespace>, namespace: &str, limit: Duration) -> Result<()> {
    // Jobs first: the namespace's own deletion takes wallets away before channels are settled.
    delete_all::<InferenceJob>(stack, namespace, limit).await?;
    delete_all::<PaymentChannel>(stack, namespace, limit).await?;
    delete_all::<CocoonProvider>(stack, namespace, limit).await?;
    // The next test counts GPUs: agents go with their provider, other pods are the test's own.
    delete_all::<Pod>(stack, namespace, limit).await?;
    match namespaces.delete(namespace, &DeleteParams::default()).await {
        // The test has deleted it, and it is gone.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => Ok(deleted.map(drop)?),
    }
}

/// Deletes every object of a kind, and waits until they are gone.
async fn delete_all<K: Kind>(stack: &Stack, namespace: &str, limit: Duration) -> Result<()> {
    let api: Api<K> = Api::namespaced(stack.client.clone(), namespace);
    api.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    wait::within(limit, &format!("no {} is left", K::kind(&())), || async {
        let left = api.list_metadata(&ListParams::default()).await?.items;
        Ok(left.is_empty().then_some(()))
    })
    .await
}

/// The farm gives up what its channels owe: nobody else can.
async fn abandon_all(stack: &Stack, namespace: &str) {
    let api: Api<CocoonProvider> = Api::namespaced(stack.client.clone(), namespace);
    let Ok(list) = api.list(&ListParams::default()).await else {
        return;
    };
    let patch = json!({"metadata": {"annotations": {cocoon_api::names::ABANDON_ANNOTATION: "true"}}});
    for provider in list {
        // The test has failed already; what cannot be abandoned shows when the namespace does not go.
        let _ = api
            .patch(
                &provider.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await;
    }
}
