//! Pods that are taken away by name and UID.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};

use crate::error::{KubeContext as _, Result};

/// Deletes the pod that has this UID; answers whether it was there.
pub(crate) async fn remove(pods: &Api<Pod>, name: &str, uid: &str, namespace: &str) -> Result<bool> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match pods.delete(name, &params).await {
        Ok(_) => Ok(true),
        // It is gone, or another pod has its name.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error).attempt("delete", format!("Pod {name}.{namespace}")),
    }
}
