//! What every controller shares.

use std::sync::Arc;

use cocoon_api::crd::CocoonProvider;
use cocoon_core::grant;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Client, ResourceExt as _,
    runtime::{events::Reporter, reflector::ObjectRef},
};

use crate::{
    agents::Agents,
    chain::Networks,
    channel::{contracts::Contracts, looks::Looks},
    config::Config,
    metrics::Metrics,
    tls::AgentTls,
    watch::Watches,
};

/// What every controller shares.
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// Arguments of the process.
    pub config: Config,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// Who publishes Events.
    pub reporter: Reporter,
    /// TON networks by name.
    pub networks: Arc<Networks>,
    /// Which channel holds each contract.
    pub contracts: Contracts,
    /// What was seen of each channel's contract.
    pub looks: Looks,
    /// The operator's certificate toward agents.
    pub tls: Arc<AgentTls>,
    /// Which agents are recognised.
    pub agents: Arc<Agents>,
    /// What is known of every kind.
    pub watches: Watches,
}

impl Context {
    /// Puts together what every controller shares.
    pub fn new(
        client: Client,
        config: Config,
        metrics: Arc<Metrics>,
        networks: Arc<Networks>,
        tls: Arc<AgentTls>,
        watches: Watches,
    ) -> Self {
        let reporter = Reporter {
            controller: "cocoon-operator".into(),
            instance: Some(config.identity.clone()),
        };
        Self {
            agents: Agents::new(client.clone(), tls.clone()),
            client,
            config,
            metrics,
            reporter,
            contracts: Contracts::new(networks.clone()),
            looks: Looks::default(),
            networks,
            tls,
            watches,
        }
    }

    /// The time, which decisions take as an argument.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Whether there is no namespace of this name.
    pub fn is_gone(&self, namespace: &str) -> bool {
        self.watches.namespaces.lacks()(namespace)
    }

    /// What was read in a namespace; `None` where the namespace is gone. A listed one takes the operator's rights in it
    /// along, so that the API server forbids what it would not find. What it forbids elsewhere is an error.
    pub fn unless_gone<T>(&self, namespace: &str, read: kube::Result<T>) -> kube::Result<Option<T>> {
        match read {
            Err(kube::Error::Api(refused)) if refused.code == 403 && self.is_gone(namespace) => Ok(None),
            read => read.map(Some),
        }
    }

    /// Whether objects of namespace `asking` may name this provider, as namespaces are labelled now.
    pub fn allows(&self, provider: &CocoonProvider, asking: &str) -> bool {
        let namespace = self.watches.namespaces.reader().get(&ObjectRef::new(asking));
        let labels = namespace.as_ref().map(|namespace| namespace.labels());
        let home = provider.namespace().unwrap_or_default();
        grant::allows(&provider.spec.allowed_namespaces, &home, asking, labels)
    }
}
