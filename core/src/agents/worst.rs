//! What is told of several agents: the worst that keeps any of them from serving.

use cocoon_api::{
    conditions::{self, ChildrenApplied, Reason as _},
    crd::CocoonProvider,
    names,
};
use k8s_openapi::api::apps::v1::Deployment;

use super::{AgentPod, Obstacle, Refusal};

/// The obstacle that is told of the agents of one model: the worst, and of those that are as bad the one of the first
/// pod by name. `refused` is why no pod can be made, which has no pod.
pub fn worst<'a>(
    pods: impl IntoIterator<Item = &'a AgentPod>,
    refused: Option<Refusal>,
) -> Option<(Obstacle, Option<&'a AgentPod>)> {
    let of_pods = pods
        .into_iter()
        .filter_map(|pod| Some((pod.state.obstacle()?, Some(pod))));
    let refused = refused.map(|why| (Obstacle::Refused(why), None));
    refused
        .into_iter()
        .chain(of_pods)
        .min_by_key(|(obstacle, pod)| (obstacle.rank(), pod.map(|pod| &pod.name)))
}

/// The API server's words, where it refuses the pods of this provider's agents of this model, or the Deployment that
/// would make them: `unmade` is what it says of that. They are the farm's: they name what is in its namespace.
pub fn refusal<'a>(
    deployments: impl IntoIterator<Item = &'a Deployment>,
    provider: &str,
    model: &str,
    unmade: Option<&'a str>,
) -> Option<&'a str> {
    let is_agents = |deployment: &&Deployment| {
        let labels = deployment.metadata.labels.as_ref();
        let is = |label, value| {
            labels
                .and_then(|labels| labels.get(label))
                .is_some_and(|found| found == value)
        };
        is(names::PROVIDER_LABEL, provider) && is(names::MODEL_LABEL, model)
    };
    let Some(deployment) = deployments.into_iter().find(is_agents) else {
        return unmade;
    };
    let mut conditions = deployment
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let failure =
        conditions.find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    match failure {
        Some(failure) => failure.message.as_deref(),
        // One that asks for pods is what is to be there; something else is refused.
        None => unmade.filter(|_| replicas.is_none_or(|replicas| replicas == 0)),
    }
}

/// Why something that is made for a provider is not there, in the API server's words, as its status says.
pub fn unmade(provider: &CocoonProvider) -> Option<&str> {
    let status = provider.status.as_ref()?;
    let applied = conditions::find(&status.conditions, ChildrenApplied::TYPE)?;
    (applied.status == "False").then_some(applied.message.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::AgentState;

    #[test]
    fn only_the_deployment_of_this_provider_and_model_says_what_is_refused() {
        let deployment = |provider: &str, model: &str, status: &str| -> Deployment {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "d", "labels": {(names::PROVIDER_LABEL): provider, (names::MODEL_LABEL): model}},
                "spec": {"replicas": 1, "selector": {}, "template": {}},
                "status": {"conditions": [{"type": "ReplicaFailure", "status": status, "message": format!("{provider} {model}")}]},
            }))
            .unwrap()
        };
        let all = [
            deployment("other", "m", "True"),
            deployment("p", "other", "True"),
            deployment("p", "m", "True"),
            deployment("p", "mended", "False"),
        ];
        assert_eq!(refusal(&all, "p", "m", None), Some("p m"));
        assert_eq!(refusal(&all, "p", "mended", None), None);
        assert_eq!(refusal(&all, "p", "none", None), None);
    }

    #[test]
    fn a_deployment_that_cannot_be_made_or_scaled_up_says_what_the_provider_was_told() {
        let deployment = |replicas: i32| -> Deployment {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "d", "labels": {(names::PROVIDER_LABEL): "p", (names::MODEL_LABEL): "m"}},
                "spec": {"replicas": replicas, "selector": {}, "template": {}},
            }))
            .unwrap()
        };
        let words = Some("could not apply Deployment p-m.farm: denied the request");
        assert_eq!(refusal([], "p", "m", words), words);
        assert_eq!(refusal([&deployment(0)], "p", "m", words), words);
        // Another model's was refused: the pods of this one are about to be made.
        assert_eq!(refusal([&deployment(1)], "p", "m", words), None);
    }

    #[test]
    fn a_provider_says_what_is_refused_while_it_is() {
        let provider = |status: &str| -> CocoonProvider {
            let address = format!("0:{}", "ab".repeat(32));
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "p"},
                "spec": {"backend": "CPU", "models": [],
                         "payout": {"network": "n", "address": address, "walletSecretRef": {"name": "w"}}},
                "status": {"conditions": [{"type": "ChildrenApplied", "status": status, "reason": "Refused",
                                           "message": "denied", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            }))
            .unwrap()
        };
        assert_eq!(unmade(&provider("False")), Some("denied"));
        assert_eq!(unmade(&provider("True")), None);
    }

    #[test]
    fn the_worst_obstacle_is_the_first_by_name_and_one_without_a_pod_comes_before_all() {
        let pod = |name: &str, state| AgentPod {
            name: name.into(),
            uid: "u".into(),
            model: "m".into(),
            state,
            address: None,
            displaced: false,
        };
        let pods = [
            pod("c", AgentState::Starting),
            pod("b", AgentState::ImagePullFailed("x".into())),
            pod("a", AgentState::Unschedulable("x".into())),
            pod("d", AgentState::Gone),
        ];
        assert_eq!(worst(&pods, None), Some((Obstacle::Image, Some(&pods[1]))));
        assert_eq!(
            worst(&pods, Some(Refusal::Quota)),
            Some((Obstacle::Refused(Refusal::Quota), None))
        );
        assert_eq!(worst(&pods[3..], None), None);
    }
}
