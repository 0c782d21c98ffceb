//! What is told of several agents: the worst that keeps any of them from serving.

use cocoon_api::names;
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

/// The API server's words, where it refuses the pods of this provider's agents of this model. They are the farm's: they
/// name what is in its namespace.
pub fn refusal<'a>(
    deployments: impl IntoIterator<Item = &'a Deployment>,
    provider: &str,
    model: &str,
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
    let deployment = deployments.into_iter().find(is_agents)?;
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    failure.message.as_deref()
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
        assert_eq!(refusal(&all, "p", "m"), Some("p m"));
        assert_eq!(refusal(&all, "p", "mended"), None);
        assert_eq!(refusal(&all, "p", "none"), None);
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
