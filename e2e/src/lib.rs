//! What the demo and the end-to-end tests share: a running stack, a farm and a payer on it, and waiting for
//! what should become true.
//!
//! A *stack* is a cluster with the chart installed and a TON network that its pods reach. `cargo xtask stack up`
//! makes one and describes it in a file; the variable `COCOON_STACK` names that file.

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::de::DeserializeOwned;

pub mod answers;
pub mod container;
pub mod demo;
pub mod farm;
pub mod file_server;
pub mod golden;
pub mod gpu;
pub mod namespace;
pub mod operator;
pub mod receipts;
pub mod release;
pub mod results;
pub mod room;
pub mod run;
pub mod stack;
pub mod wait;

/// A kind whose objects lie in namespaces.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
{
}
