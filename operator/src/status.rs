//! Writes a status when, and only when, it says something else than the stored one.

use cocoon_api::names::FIELD_MANAGER;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::error::{KubeContext as _, Result, describe};

/// Applies `status` by server-side apply, unless it equals `stored`. Answers the object as it was written,
/// and nothing where nothing was.
pub async fn apply<K, S>(api: &Api<K>, object: &K, stored: Option<&S>, status: &S) -> Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    S: Serialize + PartialEq,
{
    if stored == Some(status) {
        return Ok(None);
    }
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any()},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let written = api
        .patch_status(&object.name_any(), &params, &Patch::Apply(patch))
        .await
        .attempt("write the status of", describe(object))?;
    Ok(Some(written))
}
