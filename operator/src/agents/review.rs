//! Asks the API server about a pod, those that own it, and its token.

use cocoon_api::{agent::Credential, names};
use cocoon_core::agents::recognition::{self, Stranger};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    authentication::v1::{TokenReview, TokenReviewSpec},
    core::v1::Pod,
};
use kube::{Api, Client, api::PostParams};

use super::agent::{Agent, Unrecognised};
use crate::error::KubeContext as _;

/// The pod, if it runs what the operator asked for and belongs to the provider; read afresh.
pub(super) async fn look(client: &Client, agent: &Agent) -> Result<Pod, Unrecognised> {
    let wanted = &agent.wanted;
    let namespace = &wanted.namespace;
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let object = || format!("Pod {}.{namespace}", agent.pod);
    let pod = api.get(&agent.pod).await.attempt("read", object())?;
    if pod.metadata.uid.as_ref() != Some(&agent.uid) {
        return Err(Stranger::Elsewhere.into());
    }
    recognition::runs(&pod, agent.address, wanted)?;
    let name = recognition::replica_set(&pod)?;
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let set = api.get_opt(name).await;
    let set = set.attempt("read", format!("ReplicaSet {name}.{namespace}"))?;
    let set = set.ok_or(Stranger::NotOwned)?;
    let name = recognition::deployment(&pod, &set)?;
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = api.get_opt(name).await;
    let deployment = deployment.attempt("read", format!("Deployment {name}.{namespace}"))?;
    recognition::provider(&set, &deployment.ok_or(Stranger::NotOwned)?, wanted)?;
    Ok(pod)
}

/// Has the API server say whose token this is.
pub(super) async fn token(
    client: &Client,
    credential: &Credential,
    pod: &Pod,
    agent: &Agent,
) -> Result<(), Unrecognised> {
    let review = TokenReview {
        spec: TokenReviewSpec {
            audiences: Some(vec![names::AGENT_AUDIENCE.to_owned()]),
            token: Some(credential.token.clone()),
        },
        ..TokenReview::default()
    };
    let api: Api<TokenReview> = Api::all(client.clone());
    let answer = api
        .create(&PostParams::default(), &review)
        .await
        .attempt("review the token of agent", &agent.pod)?;
    let status = answer.status.unwrap_or_default();
    Ok(recognition::token(
        &status,
        &pod.metadata,
        &agent.wanted.namespace,
    )?)
}
