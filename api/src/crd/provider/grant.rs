//! Which namespaces may name an offer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Which namespaces' channels and jobs may name the provider, as `allowedRoutes.namespaces` of Gateway API says it of
/// routes. The provider's own always may.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.from == 'Selector' ? has(self.names) || has(self.selector) : !has(self.names) && !has(self.selector)").message("from Selector needs names or selector; Same and All take neither"))]
pub struct AllowedNamespaces {
    /// `Same`: the provider's own namespace alone. `All`: every namespace. `Selector`: those that `names` lists or
    /// `selector` matches.
    #[serde(default)]
    pub from: AllowedFrom,
    /// Names of namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 64),
        inner(
            length(min = 1, max = 63),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
        )
    )]
    pub names: Vec<String>,
    /// Labels of namespaces. Whoever may label namespaces decides with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// How namespaces are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum AllowedFrom {
    /// The provider's own namespace alone.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// Those that are listed or whose labels match.
    Selector,
}
