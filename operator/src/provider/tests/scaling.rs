//! How many agents are planned, and what is surplus.

use cocoon_api::agent::GpuFault;
use cocoon_core::agents::lost::{Loss, Lost};

use super::*;

/// Deployments as they are once the plan was applied.
fn stored(plan: &Plan) -> Vec<Arc<Deployment>> {
    let deployments = plan
        .children
        .iter()
        .filter(|child| child.kind == Kind::Deployment);
    deployments
        .map(|child| Arc::new(serde_json::from_value(child.body.clone()).unwrap()))
        .collect()
}

#[test]
fn work_starts_agents_and_idleness_is_remembered_on_the_deployment() {
    let (_, busy) = planned(&json!({}), &seen(1));
    assert_eq!(body(&busy, Kind::Deployment)["spec"]["replicas"], 1);

    let idle = Seen {
        deployments: stored(&busy),
        ..seen(0)
    };
    let (_, first) = planned(&json!({}), &idle);
    let deployment = body(&first, Kind::Deployment);
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(
        deployment["metadata"]["annotations"]["cocoon.farm/idle-since"],
        at(1000).to_string()
    );
    assert_eq!(first.placement.next_change, Some(at(1600)));

    let over = Seen {
        now: at(1600),
        deployments: stored(&first),
        ..seen(0)
    };
    let (_, last) = planned(&json!({}), &over);
    let deployment = body(&last, Kind::Deployment);
    assert_eq!(deployment["spec"]["replicas"], 0);
    assert_eq!(deployment["metadata"].get("annotations"), None);
}

#[test]
fn agents_of_a_model_that_is_not_offered_any_more_are_surplus() {
    let (_, before) = planned(&json!({"models": [{"name": "old"}]}), &seen(0));
    let (_, after) = planned(
        &json!({}),
        &Seen {
            deployments: stored(&before),
            ..seen(0)
        },
    );
    assert_eq!(after.surplus, ["farm-old"]);
}

#[test]
fn a_name_that_another_provider_took_is_left_to_it() {
    let (_, theirs) = planned(&json!({}), &seen(0));
    let mut deployment = Deployment::clone(&stored(&theirs)[0]);
    deployment.metadata.owner_references.as_mut().unwrap()[0].uid = "other-uid".into();
    let (_, ours) = planned(
        &json!({}),
        &Seen {
            deployments: vec![Arc::new(deployment)],
            ..seen(0)
        },
    );
    let name = body(&ours, Kind::Deployment)["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        name.starts_with("farm-m-") && name.len() == "farm-m-".len() + 8,
        "{name}"
    );
    let again = Seen {
        deployments: stored(&ours),
        ..seen(0)
    };
    assert_eq!(
        body(&planned(&json!({}), &again).1, Kind::Deployment)["metadata"]["name"],
        name
    );
}

#[test]
fn an_agent_whose_gpu_is_lost_goes_and_its_deployment_stays_as_it_is() {
    let lost = Lost {
        pod: "farm-m-1".into(),
        uid: "pod-uid".into(),
        what: Loss::Gpu(GpuFault::DeviceLost),
    };
    let with = Seen {
        lost: vec![lost.clone()],
        ..seen(1)
    };
    let ((_, with), (_, without)) = (planned(&json!({}), &with), planned(&json!({}), &seen(1)));
    assert_eq!(body(&with, Kind::Deployment), body(&without, Kind::Deployment));
    assert_eq!((with.lost, without.lost), (vec![lost], Vec::new()));
}

/// An agent's pod of an offer, which no node takes.
fn unschedulable(namespace: &str, provider: &str, resource: &str) -> Arc<k8s_openapi::api::core::v1::Pod> {
    let pod = json!({
        "metadata": {
            "name": "p", "namespace": namespace, "uid": "u",
            "labels": {
                "app.kubernetes.io/component": "gpu-agent", "cocoon.farm/provider": provider, "cocoon.farm/model": "m",
            },
        },
        "spec": {"containers": [{"name": "agent", "resources": {"limits": {(resource): "1"}}}]},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[test]
fn agents_of_other_offers_that_find_no_gpu_are_counted_and_no_others() {
    let (valid, _) = planned(&json!({}), &seen(0));
    let count = |pods: &[_]| waiting::elsewhere(&valid, pods);
    assert_eq!(
        count(&[unschedulable("default", "farm", "nvidia.com/gpu")]),
        0,
        "its own"
    );
    assert_eq!(count(&[unschedulable("default", "other", "nvidia.com/gpu")]), 1);
    assert_eq!(count(&[unschedulable("elsewhere", "farm", "nvidia.com/gpu")]), 1);
    assert_eq!(
        count(&[unschedulable("elsewhere", "farm", "nvidia.com/mig-1g.10gb")]),
        0
    );
    let mut placed = (*unschedulable("elsewhere", "farm", "nvidia.com/gpu")).clone();
    placed.status = None;
    assert_eq!(count(&[Arc::new(placed)]), 0);
}
