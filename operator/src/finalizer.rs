//! Holds an object back from deletion until what it stands for is in order.

use cocoon_api::names::SETTLEMENT_FINALIZER;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::error::{KubeContext as _, Result, describe};

/// Adds the finalizer where it is missing and answers the object with it; `None` where the object is gone or
/// was changed in between, so that another reconcile follows.
pub async fn ensure<K>(api: &Api<K>, object: &K) -> Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    if object
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == SETTLEMENT_FINALIZER)
    {
        return Ok(Some(object.clone()));
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(SETTLEMENT_FINALIZER.to_owned());
    write(api, object, &finalizers, "add the finalizer of").await
}

/// Takes the finalizer away: the object may go.
pub async fn remove<K>(api: &Api<K>, object: &K) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let left: Vec<String> = object
        .finalizers()
        .iter()
        .filter(|finalizer| *finalizer != SETTLEMENT_FINALIZER)
        .cloned()
        .collect();
    if left.len() != object.finalizers().len() {
        write(api, object, &left, "remove the finalizer of").await?;
    }
    Ok(())
}

async fn write<K>(api: &Api<K>, object: &K, finalizers: &[String], action: &'static str) -> Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    // The version makes the API server refuse the list where somebody else changed it in between.
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()}});
    match api
        .patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(written) => Ok(Some(written)),
        Err(kube::Error::Api(response)) if response.code == 404 => Ok(None),
        Err(error) => Err(error).attempt(action, describe(object)),
    }
}
