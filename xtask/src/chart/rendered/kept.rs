//! The policies that keep the operator's rights in a namespace that is deleted.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Rendered;

/// What the names of these policies hold.
const NAMED: &str = "-keeps-rights-for-";
/// Kinds whose finalizer says that the operator is still needed; the third policy asks the namespace itself.
const KINDS: [Option<&str>; 3] = [Some("CocoonProvider"), Some("PaymentChannel"), None];
/// What the third asks: that these rights were refused before, and that no finalizer was found then.
const CONDITIONS: [&str; 2] = [
    "said.type == 'NamespaceDeletionContentFailure' && said.status == 'True'",
    "said.type == 'NamespaceFinalizersRemaining' && said.status == 'False'",
];
/// The finalizer, which the operator's API names.
const FINALIZER_SOURCE: &str = "pub const SETTLEMENT_FINALIZER: &str = \"";

impl Rendered {
    /// Policies other than those that keep rights.
    pub(super) fn other_policies<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.of_kind(kind).filter(|policy| !keeps_rights(policy))
    }

    /// Where namespaces are listed and nothing else is asked for, each Role and `RoleBinding` there is kept while an
    /// object has the finalizer that `source` names.
    pub(in crate::chart) fn rights_are_kept(&self, values: &str, source: &str) -> Result<()> {
        let policies: Vec<&Value> = self
            .of_kind("ValidatingAdmissionPolicy")
            .filter(|policy| keeps_rights(policy))
            .collect();
        let bindings: Vec<&Value> = self
            .of_kind("ValidatingAdmissionPolicyBinding")
            .filter(|binding| keeps_rights(binding))
            .collect();
        if values != "listed-namespaces" {
            ensure!(
                policies.is_empty() && bindings.is_empty(),
                "{} policies keep rights",
                policies.len()
            );
            return Ok(());
        }
        let kinds: BTreeSet<Option<&str>> = policies
            .iter()
            .map(|policy| policy["spec"]["paramKind"]["kind"].as_str())
            .collect();
        ensure!(kinds == BTreeSet::from(KINDS), "policies ask {kinds:?}");
        let finalizer = source
            .split_once(FINALIZER_SOURCE)
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(name, _)| name)
            .context("find the finalizer's name")?;
        let held = format!("held == '{finalizer}'");
        for policy in policies {
            let name = &policy["metadata"]["name"];
            self.binds_removal(policy)
                .with_context(|| format!("policy {name}"))?;
            let asks_objects = !policy["spec"]["paramKind"].is_null();
            let expression = &policy["spec"]["validations"][0]["expression"];
            let expression = expression.as_str().context("a policy has an expression")?;
            let asked: &[&str] = if asks_objects { &[&held] } else { &CONDITIONS };
            ensure!(
                expression.starts_with("!has(namespaceObject.metadata.deletionTimestamp)")
                    && asked.iter().all(|asked| expression.contains(asked)),
                "{name} asks {expression}"
            );
            let binding = bindings
                .iter()
                .find(|binding| binding["spec"]["policyName"] == *name)
                .with_context(|| format!("find the binding of {name}"))?;
            let all = json!({"selector": {}, "parameterNotFoundAction": "Allow"});
            let wanted = if asks_objects { all } else { Value::Null };
            ensure!(
                binding["spec"]["paramRef"] == wanted
                    && binding["spec"]["validationActions"] == json!(["Deny"]),
                "{name} is bound as {}",
                binding["spec"]
            );
        }
        Ok(())
    }

    /// Deletions and changes of every Role and `RoleBinding` of the listed namespaces, and of nothing else.
    fn binds_removal(&self, policy: &Value) -> Result<()> {
        let spec = &policy["spec"];
        ensure!(spec["failurePolicy"] == "Fail", "what cannot be told is allowed");
        let constraints = &spec["matchConstraints"];
        let rule = &constraints["resourceRules"][0];
        ensure!(
            rule["operations"] == json!(["DELETE", "UPDATE"])
                && rule["apiGroups"] == json!(["rbac.authorization.k8s.io"])
                && rule["resources"] == json!(["roles", "rolebindings"]),
            "it binds {rule}"
        );
        let namespaces = &constraints["namespaceSelector"]["matchExpressions"][0];
        ensure!(
            namespaces["key"] == "kubernetes.io/metadata.name" && namespaces["operator"] == "In",
            "it binds in {namespaces}"
        );
        let listed = namespaces["values"].as_array().context("namespaces are listed")?;
        let selected = constraints["objectSelector"]["matchLabels"]
            .as_object()
            .context("rights are selected by labels")?;
        let mut kept: BTreeSet<(&str, &str)> = BTreeSet::new();
        for kind in ["Role", "RoleBinding"] {
            for object in self.of_kind(kind) {
                let metadata = &object["metadata"];
                if !listed.contains(&metadata["namespace"]) {
                    continue;
                }
                let is_selected = selected
                    .iter()
                    .all(|(label, value)| metadata["labels"].get(label) == Some(value));
                ensure!(is_selected, "{kind} {} is not kept", metadata["name"]);
                kept.insert((kind, metadata["namespace"].as_str().unwrap_or_default()));
            }
        }
        ensure!(
            kept.len() == 2 * listed.len(),
            "of the rights in {listed:?} it keeps {kept:?}"
        );
        Ok(())
    }
}

fn keeps_rights(policy: &Value) -> bool {
    policy["metadata"]["name"]
        .as_str()
        .is_some_and(|name| name.contains(NAMED))
}
