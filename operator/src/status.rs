//! Writes a status when, and only when, it says something else than the stored one.

use cocoon_api::names::FIELD_MANAGER;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    core::object::HasStatus,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::error::{Error, KubeContext as _, Result, describe};

/// Applies `status` by server-side apply, unless it equals `stored`.
pub async fn apply<K, S>(api: &Api<K>, object: &K, stored: Option<&S>, status: &S) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    S: Serialize + PartialEq,
{
    if stored == Some(status) {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any()},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_status(&object.name_any(), &params, &Patch::Apply(patch))
        .await
        .attempt("write the status of", describe(object))?;
    Ok(())
}

/// Writes of one status tried before giving up. What comes between is somebody's change of metadata or specification:
/// people make one in seconds, so that four in a row are a program that writes in a loop.
const MAX_WRITES: u32 = 4;

/// What became of a status that was put.
#[derive(Debug)]
pub enum Put<K> {
    /// The stored one says the same.
    Same,
    /// It is stored; the object as it is with it.
    Written(Box<K>),
    /// Another status was stored meanwhile, so that this one was decided on something old; the object as it is now.
    Overtaken(Box<K>),
}

/// Puts `status` in the place of the object's, which is the one that it was decided on. It costs the API server less
/// than an apply, and nothing that was written since is lost: where the object changed and its status did not, the
/// status is written on the newer object; where the status did as well, it is not.
pub async fn put<K>(api: &Api<K>, object: &K, status: &K::Status) -> Result<Put<K>>
where
    K: Resource<DynamicType = ()> + HasStatus + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    K::Status: PartialEq + Clone,
{
    const ACTION: &str = "write the status of";
    if object.status() == Some(status) {
        return Ok(Put::Same);
    }
    let name = object.name_any();
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let mut put = object.clone();
    // Of the rest, the API server takes nothing but what tells which object is meant, in which version.
    *put.meta_mut() = ObjectMeta {
        name: Some(name.clone()),
        namespace: object.namespace(),
        uid: object.uid(),
        resource_version: object.resource_version(),
        ..ObjectMeta::default()
    };
    *put.status_mut() = Some(status.clone());
    for _ in 0..MAX_WRITES {
        match api.replace_status(&name, &params, &put).await {
            Ok(written) => return Ok(Put::Written(Box::new(written))),
            Err(kube::Error::Api(response)) if response.code == 409 => {}
            Err(error) => return Err(error).attempt(ACTION, describe(object)),
        }
        let current = api.get(&name).await.attempt("read", describe(object))?;
        if current.uid() != object.uid() || current.status() != object.status() {
            return Ok(Put::Overtaken(Box::new(current)));
        }
        put.meta_mut().resource_version = current.resource_version();
    }
    Err(Error::Contended {
        object: describe(object),
        attempts: MAX_WRITES,
    })
}
