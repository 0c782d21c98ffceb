use serde_json::{Value, json};

use super::*;

const ADDRESS: &str = "10.0.0.7";

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

/// What the operator asks for.
fn asked() -> Value {
    json!({
        "automountServiceAccountToken": false,
        "containers": [{
            "name": "agent", "image": "agent:1", "args": ["serve"],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "health"}},
            "volumeMounts": [{"name": "operator", "mountPath": "/operator", "readOnly": true}],
        }],
        "volumes": [
            {"name": "model", "hostPath": {"path": "/m.gguf"}},
            {"name": "operator", "projected": {"sources": [
                {"secret": {"name": "farm-agent-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"serviceAccountToken": {"audience": names::AGENT_AUDIENCE, "path": "token"}}]}},
        ],
    })
}

/// The same as the API server, admission and the scheduler leave it.
fn made() -> Value {
    let mut spec = asked();
    merge(
        &mut spec,
        &json!({
            "nodeName": "n", "serviceAccountName": "default", "serviceAccount": "default", "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "priority": 0, "preemptionPolicy": "PreemptLowerPriority",
            "securityContext": {"fsGroup": 1}, "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
            "imagePullSecrets": [{"name": "pull"}], "overhead": {"cpu": "1m"}, "dnsConfig": {"options": [{"name": "ndots"}]},
        }),
    );
    merge(
        &mut spec["containers"][0],
        &json!({
            "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "resources": {"limits": {"cpu": "1"}}, "securityContext": {"privileged": false},
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
            "readinessProbe": {"successThreshold": 1, "periodSeconds": 10, "httpGet": {"scheme": "HTTP"}},
        }),
    );
    spec["volumes"][0]["hostPath"]["type"] = json!("");
    spec["volumes"][1]["projected"]["defaultMode"] = json!(420);
    spec["volumes"][1]["projected"]["sources"][1]["serviceAccountToken"]["expirationSeconds"] = json!(3600);
    spec
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn pod(spec: &Value) -> Pod {
    read(json!({
        "metadata": {"name": "a", "uid": "pod-uid", "ownerReferences": [owner("ReplicaSet", "rs")]},
        "spec": spec, "status": {"podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}, {"ip": "fd00::7"}]},
    }))
}

fn owner(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": format!("{name}-uid"), "controller": true})
}

fn wanted() -> Wanted {
    Wanted {
        provider: "farm-uid".into(),
        namespace: "farms".into(),
        model: "m".into(),
        spec: Some(read(asked())),
    }
}

fn looked(spec: &Value) -> Result<(), Stranger> {
    runs(&pod(spec), ADDRESS.parse().expect("an address"), &wanted())
}

#[test]
fn what_the_cluster_fills_in_is_no_difference() {
    assert_eq!(looked(&asked()), Ok(()));
    assert_eq!(looked(&made()), Ok(()));
}

#[test]
fn whatever_lets_a_pods_author_have_a_say_in_it_is_a_difference() {
    let container = |change: Value| {
        let mut spec = made();
        merge(&mut spec["containers"][0], &change);
        spec
    };
    let pod = |change: Value| {
        let mut spec = made();
        merge(&mut spec, &change);
        spec
    };
    let beside = |list: &str, one: Value| {
        let mut spec = made();
        let mut all = spec[list].as_array().cloned().unwrap_or_default();
        all.push(one);
        spec[list] = json!(all);
        spec
    };
    let exec = json!({"exec": {"command": ["steal"]}});
    for (spec, part) in [
        (
            beside("containers", json!({"name": "b", "image": "agent:1"})),
            Part::Containers,
        ),
        (
            beside("initContainers", json!({"name": "b", "image": "agent:1"})),
            Part::Containers,
        ),
        (
            beside("ephemeralContainers", json!({"name": "b", "image": "agent:1"})),
            Part::Containers,
        ),
        (
            beside("volumes", json!({"name": "b", "emptyDir": {}})),
            Part::Volumes,
        ),
        (container(json!({"image": "agent:2"})), Part::Image),
        (container(json!({"command": ["/tmp/steal"]})), Part::Command),
        (
            container(json!({"args": ["serve", "--model", "x"]})),
            Part::Command,
        ),
        (container(json!({"stdin": true, "tty": true})), Part::Command),
        (
            container(json!({"env": [{"name": "LD_PRELOAD", "value": "/tmp/x"}]})),
            Part::Environment,
        ),
        (
            container(json!({"envFrom": [{"secretRef": {"name": "x"}}]})),
            Part::Environment,
        ),
        (container(json!({"lifecycle": {"postStart": exec}})), Part::Hooks),
        (container(json!({"livenessProbe": exec})), Part::Hooks),
        (container(json!({"volumeMounts": []})), Part::Mounts),
        (pod(json!({"shareProcessNamespace": true})), Part::Isolation),
        (pod(json!({"hostPID": true})), Part::Isolation),
        (pod(json!({"hostNetwork": true})), Part::Isolation),
        (pod(json!({"runtimeClassName": "mine"})), Part::Isolation),
        (pod(json!({"serviceAccountName": "other"})), Part::Account),
    ] {
        assert_eq!(looked(&spec), Err(Stranger::Runs(part)), "{spec}");
    }
    let mut other_authority = made();
    other_authority["volumes"][1]["projected"]["sources"][0]["secret"]["name"] = json!("mine");
    assert_eq!(looked(&other_authority), Err(Stranger::Runs(Part::Volumes)));
}

#[test]
fn a_pod_is_dialled_at_its_own_address_alone() {
    let at = |address: &str| runs(&pod(&made()), address.parse().expect("an address"), &wanted());
    assert_eq!(at("fd00::7"), Ok(()));
    assert_eq!(at("10.0.0.8"), Err(Stranger::Elsewhere));
    let nothing = Wanted {
        spec: None,
        ..wanted()
    };
    let address = ADDRESS.parse().expect("an address");
    assert_eq!(
        runs(&pod(&made()), address, &nothing),
        Err(Stranger::NothingOffered)
    );
}

/// Whether pod, `ReplicaSet` and Deployment with these changes are the provider's.
fn owned(of_pod: &Value, of_set: &Value, of_deployment: &Value) -> Result<(), Stranger> {
    let mut pod =
        json!({"metadata": {"name": "a", "uid": "pod-uid", "ownerReferences": [owner("ReplicaSet", "rs")]}});
    let mut set =
        json!({"metadata": {"name": "rs", "uid": "rs-uid", "ownerReferences": [owner("Deployment", "d")]}});
    let mut deployment = json!({"metadata": {"name": "d", "uid": "d-uid", "labels": {names::MODEL_LABEL: "m"},
        "ownerReferences": [owner("CocoonProvider", "farm")]}});
    merge(&mut pod["metadata"], of_pod);
    merge(&mut set["metadata"], of_set);
    merge(&mut deployment["metadata"], of_deployment);
    let (pod, set, deployment): (Pod, ReplicaSet, Deployment) = (read(pod), read(set), read(deployment));
    assert_eq!(replica_set(&pod)?, "rs");
    assert_eq!(self::deployment(&pod, &set)?, "d");
    provider(&set, &deployment, &wanted())
}

#[test]
fn the_chain_of_owners_is_followed_by_uid_up_to_the_provider() {
    let same = || json!({});
    assert_eq!(owned(&same(), &same(), &same()), Ok(()));
    let orphan = || json!({"ownerReferences": []});
    let not_controlled = json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs-uid"}]});
    let others = json!({"ownerReferences": [owner("CocoonProvider", "other")]});
    for (pod, set, deployment) in [
        (orphan(), same(), same()),
        (not_controlled, same(), same()),
        (same(), json!({"uid": "another"}), same()),
        (same(), orphan(), same()),
        (same(), same(), json!({"uid": "another"})),
        (same(), same(), orphan()),
        (same(), same(), others),
        (same(), same(), json!({"labels": {names::MODEL_LABEL: "other"}})),
    ] {
        assert_eq!(owned(&pod, &set, &deployment), Err(Stranger::NotOwned));
    }
}

fn review() -> Value {
    json!({
        "authenticated": true, "audiences": [names::AGENT_AUDIENCE],
        "user": {"username": "system:serviceaccount:farms:default", "extra": {POD_UID: ["pod-uid"], POD_NAME: ["a"]}},
    })
}

fn reviewed(change: &Value) -> Result<(), Stranger> {
    let mut review = review();
    merge(&mut review, change);
    token(&read(review), &pod(&made()).metadata, "farms")
}

#[test]
fn a_token_is_that_of_this_pod_and_for_the_operator() {
    assert_eq!(reviewed(&json!({})), Ok(()));
    // Expired, or of a pod that is gone: the API server says no more than this.
    assert_eq!(
        reviewed(&json!({"authenticated": false, "error": "expired", "user": null})),
        Err(Stranger::TokenRefused)
    );
    for audiences in [json!(null), json!([]), json!(["https://kubernetes.default.svc"])] {
        assert_eq!(
            reviewed(&json!({"audiences": audiences})),
            Err(Stranger::TokenRefused)
        );
    }
}

#[test]
fn a_token_of_another_pod_or_of_none_is_no_agents() {
    let extra = |extra: Value| reviewed(&json!({"user": {"extra": extra}}));
    for other in [
        json!({POD_UID: ["another"]}),
        json!({POD_NAME: ["b"]}),
        json!({POD_UID: []}),
        json!({POD_UID: ["pod-uid", "another"]}),
        json!(null),
    ] {
        assert_eq!(extra(other), Err(Stranger::OtherPod));
    }
    for user in [
        "system:serviceaccount:team:default",
        "system:serviceaccount:farms",
        "admin",
    ] {
        assert_eq!(
            reviewed(&json!({"user": {"username": user}})),
            Err(Stranger::OtherPod),
            "{user}"
        );
    }
}
