//! What every controller shares.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::{Client, runtime::events::{Recorder, Reporter}};

use crate::{config::Config, metrics::Metrics};

/// What every controller shares.
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// Arguments of the process.
    pub config: Config,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// Publishes Events.
    pub recorder: Recorder,
}

impl Context {
    /// Puts together what every controller shares.
    pub fn new(client: Client, config: Config, metrics: Arc<Metrics>) -> Self {
        let reporter = Reporter { controller: "cocoon-operator".into(), instance: Some(config.identity.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, config, metrics, recorder }
    }

    /// The time, which decisions take as an argument.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
