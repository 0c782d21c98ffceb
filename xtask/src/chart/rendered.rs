//! What the chart renders, and what must hold of it.

mod api_keys;
mod kept;
mod page;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Kinds of workloads, with the path of their pod template.
const WORKLOADS: [(&str, &str); 5] = [
    ("Deployment", "/spec/template/spec"),
    ("StatefulSet", "/spec/template/spec"),
    ("DaemonSet", "/spec/template/spec"),
    ("Job", "/spec/template/spec"),
    ("CronJob", "/spec/jobTemplate/spec/template/spec"),
];

/// What the roles of payers and farms must never write.
const WRITES_NEVER: [(&str, &[&str]); 4] = [
    ("cocoon-payer", &["cocoonproviders", "settlements", "secrets"]),
    (
        "cocoon-payer-data",
        &["cocoonproviders", "settlements", "paymentchannels"],
    ),
    (
        "cocoon-offers",
        &[
            "cocoonproviders",
            "inferencejobs",
            "paymentchannels",
            "settlements",
            "secrets",
        ],
    ),
    (
        "cocoon-farm",
        &["paymentchannels", "inferencejobs", "settlements"],
    ),
];

/// What they are for.
const NEEDS: [(&str, &str, &str); 7] = [
    ("cocoon-payer", "inferencejobs", "create"),
    ("cocoon-payer", "paymentchannels", "patch"),
    ("cocoon-payer", "cocoonproviders", "get"),
    ("cocoon-payer-data", "secrets", "get"),
    ("cocoon-offers", "cocoonproviders", "get"),
    ("cocoon-farm", "cocoonproviders", "patch"),
    ("cocoon-farm", "secrets", "create"),
];

/// A rendered chart.
pub(super) struct Rendered {
    /// As Helm printed it, with comments.
    pub(super) text: String,
    objects: Vec<Value>,
}

impl Rendered {
    /// Reads what Helm printed.
    pub(super) fn parse(text: String) -> Result<Self> {
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&text).context("read the rendered chart as YAML")?;
        ensure!(!objects.is_empty(), "the chart rendered nothing");
        Ok(Self { text, objects })
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// Every rule of every role stands below a comment that says why.
    pub(super) fn every_rule_has_a_reason(&self) -> Result<()> {
        let rules: usize = ["Role", "ClusterRole"]
            .into_iter()
            .flat_map(|kind| self.of_kind(kind))
            .map(|role| role["rules"].as_array().map_or(0, Vec::len))
            .sum();
        let lines: Vec<&str> = self
            .text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let starts: Vec<usize> = (0..lines.len())
            .filter(|index| lines[*index].starts_with("- apiGroups:"))
            .collect();
        ensure!(
            rules == starts.len(),
            "{rules} rules, of which {} start with apiGroups, as all should",
            starts.len()
        );
        for start in starts {
            let above = start.checked_sub(1).map_or("", |index| lines[index]);
            let what: Vec<&str> = lines.iter().skip(start).take(3).copied().collect();
            ensure!(
                above.starts_with('#'),
                "this rule has no comment above it that gives its reason: {what:?}"
            );
        }
        Ok(())
    }

    /// Every container runs as nobody in particular, writes nowhere and can do nothing special.
    pub(super) fn every_container_is_hardened(&self) -> Result<()> {
        let mut containers = 0;
        for (kind, template) in WORKLOADS {
            for object in self.of_kind(kind) {
                let name = &object["metadata"]["name"];
                let pod = object
                    .pointer(template)
                    .with_context(|| format!("find the pod of {kind} {name}"))?;
                let gaps = pod_gaps(pod);
                ensure!(
                    gaps.is_empty(),
                    "{kind} {name} is not hardened:\n  {}",
                    gaps.join("\n  ")
                );
                containers += pod["containers"].as_array().map_or(0, Vec::len);
            }
        }
        ensure!(containers > 0, "no container was found");
        ensure!(
            self.of_kind("Pod").next().is_none(),
            "a bare Pod is not rescheduled when its node goes"
        );
        Ok(())
    }

    /// The agents' policies admit the operator by its name, which the operator's source says.
    pub(super) fn agents_admit_the_operator_of(&self, source: &str) -> Result<()> {
        let name = source
            .split_once("const OPERATOR_NAME: &str = \"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(name, _)| name)
            .context("find OPERATOR_NAME in the operator's source")?;
        for deployment in self.of_kind("Deployment") {
            let found = &deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"];
            ensure!(
                found == name,
                "the operator's pods are named {found}, and agents admit {name:?}"
            );
        }
        Ok(())
    }

    /// `crds.install` and `crds.keep`, by the values set that is rendered.
    pub(super) fn definitions_follow(&self, values: &str) -> Result<()> {
        let found: Vec<&Value> = self.of_kind("CustomResourceDefinition").collect();
        let wanted = if values == "without-crds" { 0 } else { 4 };
        ensure!(
            found.len() == wanted,
            "{} definitions instead of {wanted}",
            found.len()
        );
        for definition in found {
            let kept = definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep";
            ensure!(
                kept == (values != "leave-nothing"),
                "{} is kept: {kept}",
                definition["metadata"]["name"]
            );
        }
        Ok(())
    }

    /// `admissionPolicy.enabled`, by the values set that is rendered: the policy spares the operator, by its name and
    /// no other.
    pub(super) fn admission_policy_follows(&self, values: &str) -> Result<()> {
        let wanted = matches!(values, "all" | "one-namespace");
        let policies: Vec<&Value> = self.other_policies("ValidatingAdmissionPolicy").collect();
        let bindings = self.other_policies("ValidatingAdmissionPolicyBinding").count();
        ensure!(
            policies.len() == usize::from(wanted) && bindings == policies.len(),
            "{} policies and {bindings} bindings",
            policies.len()
        );
        let Some(policy) = policies.first() else {
            return Ok(());
        };
        let account = self
            .of_kind("ServiceAccount")
            .next()
            .and_then(|account| account["metadata"]["name"].as_str())
            .context("find the operator's ServiceAccount")?;
        let spared = format!("request.userInfo.username != 'system:serviceaccount:cocoon-system:{account}'");
        let conditions = &policy["spec"]["matchConditions"];
        ensure!(
            conditions[0]["expression"] == spared.as_str(),
            "the policy spares {conditions}, not the operator"
        );
        let exempt = conditions.as_array().map_or(0, Vec::len);
        ensure!(
            exempt == if values == "all" { 2 } else { 1 },
            "{exempt} conditions with the groups of {values}"
        );
        let confined = &policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"];
        ensure!(
            confined.is_null() == (values == "all"),
            "the policy binds {confined}"
        );
        Ok(())
    }

    /// Where namespaces are listed, everything but the inventory is a right in these alone.
    pub(super) fn rights_follow_the_namespaces(&self, values: &str) -> Result<()> {
        let listed: &[&str] = match values {
            "one-namespace" => &["farm"],
            "listed-namespaces" => &["farm", "team-a", "team-b"],
            _ => return Ok(()),
        };
        let own = "cocoon-system";
        let found: BTreeSet<&str> = ["Role", "RoleBinding"]
            .into_iter()
            .flat_map(|kind| self.of_kind(kind))
            .filter_map(|object| object["metadata"]["namespace"].as_str())
            .collect();
        let wanted: BTreeSet<&str> = listed.iter().copied().chain([own]).collect();
        ensure!(found == wanted, "roles are in {found:?} instead of {wanted:?}");
        for role in self.of_kind("ClusterRole") {
            let name = role["metadata"]["name"].as_str().unwrap_or_default();
            ensure!(
                name.ends_with("-inventory"),
                "ClusterRole {name} is a right in every namespace"
            );
        }
        Ok(())
    }

    /// Payers and farms get roles of their own, where they are wanted, and nothing of each other's or the operator's.
    pub(super) fn user_roles_follow(&self, values: &str) -> Result<()> {
        let named = |name: &str| {
            self.of_kind("ClusterRole")
                .find(|role| role["metadata"]["name"] == name)
        };
        let roles = [
            "cocoon-payer",
            "cocoon-payer-data",
            "cocoon-offers",
            "cocoon-farm",
        ];
        let found = roles.iter().filter(|role| named(role).is_some()).count();
        let wanted = if matches!(values, "one-namespace" | "listed-namespaces") {
            0
        } else {
            roles.len()
        };
        ensure!(
            found == wanted,
            "{found} of {roles:?} are there, {wanted} are wanted"
        );
        if wanted == 0 {
            return Ok(());
        }
        let may = |role: &str, resource: &str, verb: &str| {
            let has = |list: &Value, what: &str| {
                list.as_array()
                    .is_some_and(|list| list.iter().any(|entry| entry == what || entry == "*"))
            };
            named(role)
                .and_then(|role| role["rules"].as_array())
                .is_some_and(|rules| {
                    rules
                        .iter()
                        .any(|rule| has(&rule["resources"], resource) && has(&rule["verbs"], verb))
                })
        };
        let writes = ["create", "update", "patch", "delete", "deletecollection"];
        for (role, resources) in WRITES_NEVER {
            let kinds = [
                "cocoonproviders",
                "inferencejobs",
                "paymentchannels",
                "settlements",
            ];
            let statuses = kinds.map(|kind| format!("{kind}/status"));
            let all = resources
                .iter()
                .copied()
                .chain(statuses.iter().map(String::as_str));
            for (resource, verb) in all.flat_map(|resource| writes.map(|verb| (resource, verb))) {
                ensure!(!may(role, resource, verb), "{role} may {verb} {resource}");
            }
            ensure!(!may(role, "secrets", "list"), "{role} may list Secrets");
        }
        ensure!(
            ["cocoon-farm", "cocoon-payer", "cocoon-offers"]
                .iter()
                .all(|role| !may(role, "secrets", "get")),
            "Secrets are read with cocoon-payer-data alone"
        );
        for (role, resource, verb) in NEEDS {
            ensure!(may(role, resource, verb), "{role} may not {verb} {resource}");
        }
        Ok(())
    }

    /// Every metric that an alert asks for is one that the operator's source names.
    pub(super) fn alerts_ask_for_metrics_of(&self, source: &str) -> Result<()> {
        let expressions: Vec<&str> = self
            .of_kind("PrometheusRule")
            .flat_map(|rule| rule["spec"]["groups"].as_array().into_iter().flatten())
            .flat_map(|group| group["rules"].as_array().into_iter().flatten())
            .filter_map(|rule| rule["expr"].as_str())
            .collect();
        ensure!(!expressions.is_empty(), "no alert was found");
        for expression in expressions {
            let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            for metric in words.filter(|word| word.starts_with("cocoon_")) {
                ensure!(
                    source.contains(&format!("\"{metric}\"")),
                    "{metric} is no metric of the operator: {expression}"
                );
            }
        }
        Ok(())
    }

    /// The container of the operator.
    pub(super) fn operator_container(&self) -> Result<&Value> {
        self.of_kind("Deployment")
            .next()
            .map(|deployment| &deployment["spec"]["template"]["spec"]["containers"][0])
            .context("find the operator's Deployment")
    }

    /// Names and namespaces are text of the form that Kubernetes takes, whatever they look like in YAML.
    pub(super) fn every_name_is_a_name(&self) -> Result<()> {
        for object in &self.objects {
            let kind = object["kind"].as_str().context("an object has no kind")?;
            let metadata = &object["metadata"];
            let name = metadata["name"]
                .as_str()
                .with_context(|| format!("the name of a {kind} is {}, no text", metadata["name"]))?;
            let is_label = |name: &str| {
                name.len() <= 63
                    && name.starts_with(|letter: char| letter.is_ascii_lowercase())
                    && !name.ends_with('-')
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            };
            ensure!(
                kind != "Service" || is_label(name),
                "{name} is no name of a Service"
            );
            ensure!(name.len() <= 253, "the name of {kind} {name} is too long");
            ensure!(!name.ends_with('-'), "the name of {kind} {name} ends in a hyphen");
            for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
                ensure!(
                    value.is_string(),
                    "label {key} of {kind} {name} is {value}, no text"
                );
            }
            let namespace = &metadata["namespace"];
            ensure!(
                namespace.is_null() || namespace.is_string(),
                "the namespace of {kind} {name} is {namespace}, no text"
            );
        }
        Ok(())
    }

    /// The `ConfigMap` with the dashboard, where it is wanted.
    pub(super) fn dashboard(&self) -> Option<&Value> {
        self.of_kind("ConfigMap").find(|map| {
            map["metadata"]["name"]
                .as_str()
                .is_some_and(|name| name.ends_with("-dashboard"))
        })
    }

    /// The alerts, as a rule file of Prometheus.
    pub(super) fn prometheus_rules(&self) -> Option<Value> {
        self.of_kind("PrometheusRule")
            .next()
            .map(|rule| rule["spec"].clone())
    }
}

/// What a pod lacks.
fn pod_gaps(pod: &Value) -> Vec<String> {
    let mut gaps = Vec::new();
    let mut want = |whose: &str, found: &Value, path: &str, wanted: &Value| {
        let found = found.pointer(path).unwrap_or(&Value::Null);
        if found != wanted {
            gaps.push(format!("{whose}: {path} is {found}, not {wanted}"));
        }
    };
    want("pod", pod, "/securityContext/runAsNonRoot", &json!(true));
    want("pod", pod, "/securityContext/runAsUser", &json!(65532));
    want(
        "pod",
        pod,
        "/securityContext/seccompProfile/type",
        &json!("RuntimeDefault"),
    );
    for shared in ["/hostNetwork", "/hostPID", "/hostIPC"] {
        want("pod", pod, shared, &Value::Null);
    }
    for list in ["containers", "initContainers"] {
        for container in pod[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or("without a name");
            want(
                name,
                container,
                "/securityContext/allowPrivilegeEscalation",
                &json!(false),
            );
            want(
                name,
                container,
                "/securityContext/readOnlyRootFilesystem",
                &json!(true),
            );
            want(name, container, "/securityContext/privileged", &json!(false));
            want(
                name,
                container,
                "/securityContext/capabilities",
                &json!({"drop": ["ALL"]}),
            );
            for wider in ["runAsNonRoot", "runAsUser", "seccompProfile", "procMount"] {
                want(
                    name,
                    container,
                    &format!("/securityContext/{wider}"),
                    &Value::Null,
                );
            }
        }
    }
    for container in pod["containers"].as_array().into_iter().flatten() {
        for needed in [
            "/resources/requests/memory",
            "/resources/limits/memory",
            "/livenessProbe",
            "/readinessProbe",
        ] {
            if container.pointer(needed).is_none() {
                gaps.push(format!("{}: {needed} is missing", container["name"]));
            }
        }
    }
    gaps
}

#[cfg(test)]
mod tests;
