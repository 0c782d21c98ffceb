//! What every controller shares.

use std::{net::IpAddr, sync::Arc};

use cocoon_api::crd::{CocoonProvider, FullName};
use cocoon_core::grant;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Client, ResourceExt as _,
    runtime::{events::Reporter, reflector::ObjectRef},
};

use crate::{
    chain::Networks,
    channel::{contracts::Contracts, looks::Looks},
    config::Config,
    dispatch::AgentClient,
    error::Result,
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
    /// Certificates toward agents.
    pub tls: Arc<AgentTls>,
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

    /// Whether objects of namespace `asking` may name this provider, as namespaces are labelled now.
    pub fn allows(&self, provider: &CocoonProvider, asking: &str) -> bool {
        let namespace = self.watches.namespaces.reader().get(&ObjectRef::new(asking));
        let labels = namespace.as_ref().map(|namespace| namespace.labels());
        let home = provider.namespace().unwrap_or_default();
        grant::allows(&provider.spec.allowed_namespaces, &home, asking, labels)
    }

    /// A client of the provider's agent at this address.
    pub fn agent_client(&self, provider: &FullName, address: IpAddr) -> Result<AgentClient> {
        let (http, base) = self.tls.client(&provider.name, &provider.namespace, address)?;
        Ok(AgentClient::new(http, base))
    }
}
