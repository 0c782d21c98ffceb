//! References from one object to another.

use std::fmt;

/// Reference to an object of a known kind in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Name of the object: a DNS subdomain.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// Reference to one key of a `ConfigMap` or Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the object: a DNS subdomain.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Key within its data.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Reference to a provider, of this namespace or of another one whose provider allows this one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderReference {
    /// Name of the `CocoonProvider`: a DNS subdomain.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Its namespace; absent: the namespace of the object that names it. A provider of another namespace must list this
    /// one in its `allowedNamespaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: Option<String>,
}

impl ProviderReference {
    /// The provider that an object of namespace `home` names.
    pub fn full_name(&self, home: &str) -> FullName {
        FullName::new(self.namespace.as_deref().unwrap_or(home), &self.name)
    }
}

/// Namespace and name of an object.
///
/// As a text it is read and written from the namespace of whoever names it, its *home*: an object of the home is named
/// by its name alone, one of another namespace as `namespace/name`. Neither part contains a slash, so that the text
/// tells which it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FullName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl FullName {
    /// From its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Of an object; one without a namespace or a name has none.
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        let metadata = object.meta();
        Self::new(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        )
    }

    /// What a text of namespace `home` names.
    pub fn parse(text: &str, home: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self::new(namespace, name),
            None => Self::new(home, text),
        }
    }

    /// Whether a text names an object of another namespace than its home.
    pub fn is_elsewhere(text: &str) -> bool {
        text.contains('/')
    }

    /// The text by which namespace `home` names it.
    pub fn seen_from(&self, home: &str) -> String {
        if self.namespace == home {
            self.name.clone()
        } else {
            self.to_string()
        }
    }
}

/// `namespace/name`.
impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_by_its_name_at_home_and_in_full_elsewhere() {
        let gpus = FullName::new("farm", "gpus");
        for (home, text) in [("farm", "gpus"), ("team", "farm/gpus")] {
            assert_eq!(gpus.seen_from(home), text);
            assert_eq!(FullName::parse(text, home), gpus);
            assert_eq!(FullName::is_elsewhere(text), home != "farm");
        }
    }

    #[test]
    fn a_reference_without_a_namespace_is_to_the_same_one() {
        let mut reference = ProviderReference {
            name: "gpus".into(),
            namespace: None,
        };
        assert_eq!(reference.full_name("team"), FullName::new("team", "gpus"));
        reference.namespace = Some("farm".into());
        assert_eq!(reference.full_name("team"), FullName::new("farm", "gpus"));
    }
}
