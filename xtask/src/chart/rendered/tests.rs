use super::*;

fn role(rules: &str) -> Rendered {
    Rendered::parse(format!(
        "kind: ClusterRole\nmetadata: {{name: a}}\nrules:\n{rules}"
    ))
    .unwrap()
}

#[test]
fn a_rule_without_a_reason_is_refused() {
    let rule = "  - apiGroups: [apps]\n    resources: [deployments]\n    verbs: [get]\n";
    role(&format!("  # Because.\n{rule}"))
        .every_rule_has_a_reason()
        .unwrap();
    let error = role(&format!("  # Because.\n{rule}{rule}"))
        .every_rule_has_a_reason()
        .unwrap_err()
        .to_string();
    assert!(error.contains("deployments"), "{error}");
    role("  # Because.\n  - resources: [deployments]\n    apiGroups: [apps]\n")
        .every_rule_has_a_reason()
        .unwrap_err();
}

fn hardened() -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "operator",
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "privileged": false,
                "capabilities": {"drop": ["ALL"]},
            },
            "resources": {"requests": {"memory": "1Mi"}, "limits": {"memory": "1Mi"}},
            "livenessProbe": {}, "readinessProbe": {},
        }],
    })
}

#[test]
fn a_hardened_pod_has_no_gaps() {
    assert_eq!(pod_gaps(&hardened()), Vec::<String>::new());
}

#[test]
fn every_wider_right_is_seen() {
    let container = "/containers/0/securityContext";
    for (path, value) in [
        ("/securityContext/runAsNonRoot".to_owned(), json!(false)),
        ("/securityContext/runAsUser".to_owned(), json!(0)),
        (
            "/securityContext/seccompProfile".to_owned(),
            json!({"type": "Unconfined"}),
        ),
        (format!("{container}/allowPrivilegeEscalation"), json!(true)),
        (format!("{container}/readOnlyRootFilesystem"), json!(false)),
        (format!("{container}/privileged"), json!(true)),
        (
            format!("{container}/capabilities"),
            json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        ),
        (container.to_owned(), json!({})),
        ("/containers/0/resources".to_owned(), json!({})),
    ] {
        let mut pod = hardened();
        *pod.pointer_mut(&path).unwrap() = value;
        assert!(!pod_gaps(&pod).is_empty(), "{path}");
    }
    let mut pod = hardened();
    pod["hostNetwork"] = json!(true);
    assert_eq!(pod_gaps(&pod), ["pod: /hostNetwork is true, not null"]);
    let mut pod = hardened();
    pod["containers"][0]["securityContext"]["runAsUser"] = json!(0);
    assert!(!pod_gaps(&pod).is_empty());
    let mut pod = hardened();
    pod["initContainers"] = json!([{"name": "setup"}]);
    assert!(!pod_gaps(&pod).is_empty());
}

#[test]
fn a_chart_without_containers_proves_nothing() {
    role("").every_container_is_hardened().unwrap_err();
}

#[test]
fn definitions_are_counted_and_their_policy_is_read() {
    let definition = "---\nkind: CustomResourceDefinition\nmetadata: {name: a, annotations: {helm.sh/resource-policy: keep}}\n";
    let rendered = Rendered::parse(definition.repeat(4)).unwrap();
    rendered.definitions_follow("defaults").unwrap();
    rendered.definitions_follow("without-crds").unwrap_err();
    rendered.definitions_follow("leave-nothing").unwrap_err();
}

#[test]
fn an_alert_on_a_metric_that_nobody_counts_is_refused() {
    let rule = "kind: PrometheusRule\nspec: {groups: [{rules: [{expr: 'rate(cocoon_a_total[1m]) > 0'}]}]}\n";
    let rendered = Rendered::parse(rule.to_owned()).unwrap();
    rendered
        .alerts_ask_for_metrics_of("counter(\"cocoon_a_total\")")
        .unwrap();
    let error = rendered
        .alerts_ask_for_metrics_of("counter(\"cocoon_a_total_more\")")
        .unwrap_err()
        .to_string();
    assert!(error.contains("cocoon_a_total is no metric"), "{error}");
}

#[test]
fn an_operator_that_agents_do_not_admit_is_refused() {
    let text = "kind: Deployment\nspec: {template: {metadata: {labels: {app.kubernetes.io/name: a}}}}\n";
    let rendered = Rendered::parse(text.to_owned()).unwrap();
    rendered
        .agents_admit_the_operator_of("const OPERATOR_NAME: &str = \"a\";")
        .unwrap();
    rendered
        .agents_admit_the_operator_of("const OPERATOR_NAME: &str = \"b\";")
        .unwrap_err();
    rendered.agents_admit_the_operator_of("").unwrap_err();
}
