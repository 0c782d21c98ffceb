//! Which namespaces may use a provider: its own always, others as its `allowedNamespaces` says.
//!
//! Wanted properties, each a test:
//! - without a word of the provider, no other namespace may;
//! - what cannot be told allows nothing: a namespace whose labels are not known, an operator that Kubernetes does not
//!   have;
//! - a name or a selector that is added takes nothing away.

use std::collections::BTreeMap;

use cocoon_api::crd::provider::{AllowedFrom, AllowedNamespaces};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Labels of a namespace.
pub type Labels = BTreeMap<String, String>;

/// Whether objects of namespace `asking` may name a provider of namespace `home`. `labels` are those of `asking`; none
/// where the namespace is not known.
pub fn allows(allowed: &AllowedNamespaces, home: &str, asking: &str, labels: Option<&Labels>) -> bool {
    if home == asking {
        return true;
    }
    let AllowedNamespaces {
        from,
        names,
        selector,
    } = allowed;
    match from {
        AllowedFrom::Same => false,
        AllowedFrom::All => true,
        AllowedFrom::Selector => {
            let is_selected = selector
                .as_ref()
                .zip(labels)
                .is_some_and(|(selector, labels)| matches(selector, labels));
            is_selected || names.iter().any(|name| name == asking)
        }
    }
}

/// Whether labels fulfil every requirement, as Kubernetes reads them; a selector without any matches everything.
fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let mut equal = selector.match_labels.iter().flatten();
    let mut requirements = selector.match_expressions.iter().flatten();
    equal.all(|(key, value)| labels.get(key) == Some(value))
        && requirements.all(|requirement| fulfils(requirement, labels))
}

fn fulfils(requirement: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let LabelSelectorRequirement {
        key,
        operator,
        values,
    } = requirement;
    let value = labels.get(key);
    let values = values.as_deref().unwrap_or_default();
    match operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
