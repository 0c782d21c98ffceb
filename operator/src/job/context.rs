//! What every stage of a job shares.

use std::{net::IpAddr, sync::Arc, time::Duration};

use cocoon_api::crd::{FullName, InferenceJob, InferenceJobStatus, PaymentChannel};
use cocoon_core::agents::AgentPod;
use kube::{Api, ResourceExt as _};

use super::{certificates::Certificates, latest::Latest, queue::Queue, turns::Turns};
use crate::{
    agents::Agent,
    context::Context,
    dispatch::{AgentClient, Dispatcher},
    error::{Error, Result},
    provider::wanted,
    status::{self, Put},
    watch::{Wakes, prune},
};

/// A job that waits is looked at again after this time, whatever events were missed: an agent whose volumes are not set
/// up in time sends none.
pub(super) const WAITING_INTERVAL: Duration = Duration::from_secs(15);

/// What the job controller needs beside the shared context.
pub(super) struct Jobs {
    pub(super) ctx: Arc<Context>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) certificates: Certificates,
    pub(super) wakes: Arc<Wakes<InferenceJob>>,
    pub(super) queue: Queue,
    pub(super) turns: Turns,
    /// Jobs that were written and not shown by the watch yet.
    pub(super) latest: Latest<InferenceJob>,
    /// Channels, likewise.
    pub(super) latest_channels: Latest<PaymentChannel>,
}

impl Jobs {
    /// Jobs of the namespace.
    pub(super) fn api(&self, job: &InferenceJob) -> Api<InferenceJob> {
        Api::namespaced(self.ctx.client.clone(), &job.namespace().unwrap_or_default())
    }

    /// Puts a status in the place of the job's, and notes the job as it is then.
    pub(super) async fn put(
        &self,
        job: &InferenceJob,
        status: &InferenceJobStatus,
    ) -> Result<Put<InferenceJob>> {
        let mut put = status::put(&self.api(job), job, status).await?;
        if let Put::Written(job) | Put::Overtaken(job) = &mut put {
            // What nobody keeps in memory is dropped.
            prune::job(job);
            self.latest.note(job, &self.ctx.watches.jobs.reader());
        }
        Ok(put)
    }

    /// The channel of the name, no older than what this controller wrote of it.
    pub(super) fn channel(&self, namespace: &str, name: &str) -> Option<Arc<PaymentChannel>> {
        let channel = self.ctx.watches.channels.get(namespace, name)?;
        Some(self.latest_channels.of(&channel))
    }

    /// Notes a channel as it was written.
    pub(super) fn note_channel(&self, channel: &PaymentChannel) {
        self.latest_channels
            .note(channel, &self.ctx.watches.channels.reader());
    }

    /// A client of an agent at this address, which is recognised when it is first asked anything.
    pub(super) fn agent(
        &self,
        provider: &FullName,
        pod: &AgentPod,
        address: Option<IpAddr>,
    ) -> Result<AgentClient> {
        let missing = || Error::Incomplete {
            object: format!("Pod {}/{}", provider.namespace, pod.name),
            field: "status.podIP",
        };
        let found = self
            .ctx
            .watches
            .providers
            .get(&provider.namespace, &provider.name);
        let wanted = wanted(
            found.as_deref(),
            &provider.namespace,
            &pod.model,
            &self.ctx.config,
        );
        let agent = Agent {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            address: address.ok_or_else(missing)?,
            wanted: Arc::new(wanted),
        };
        Ok(AgentClient::of(self.ctx.agents.clone(), agent))
    }
}
