//! The leading operator's own figures, from its metrics.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::stack::Stack;

/// The leading operator's own figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Requests to the Kubernetes API since it started. Its watches are not counted, nor is its lease: both go on
    /// whether there is work or not.
    pub requests: f64,
    /// Of these, what jobs cost whatever the time: reads and writes of jobs, Events, and writes of results. The other
    /// requests are a provider's and a channel's, which look at the world every so often.
    pub job_requests: f64,
    /// Seconds of CPU that it took since it started.
    pub cpu_seconds: f64,
    /// Bytes of memory that it holds.
    pub resident_bytes: f64,
}

impl Figures {
    /// As they are now.
    pub async fn read(stack: &Stack) -> Result<Self> {
        let namespace = &stack.description.operator_namespace;
        let pods: Api<Pod> = Api::namespaced(stack.client.clone(), namespace);
        let found = pods
            .list(&ListParams::default().labels("app.kubernetes.io/name=cocoon-operator"))
            .await?;
        let pod = found.items.first().context("an operator runs")?.name_any();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:8080/proxy/metrics");
        Self::parse(&stack.kubectl(&["get", "--raw", &path]).await?)
    }

    fn parse(metrics: &str) -> Result<Self> {
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            let value = line.with_context(|| format!("the operator does not tell {name}"))?;
            value
                .trim()
                .parse::<f64>()
                .with_context(|| format!("{name} is no number"))
        };
        let (mut requests, mut job_requests) = (0.0, 0.0);
        for line in metrics
            .lines()
            .filter_map(|line| line.strip_prefix("cocoon_kubernetes_requests_total{"))
        {
            if line.contains("verb=\"watch\"") || line.contains("resource=\"leases\"") {
                continue;
            }
            let (_, count) = line.rsplit_once(' ').context("a metric has a value")?;
            let count: f64 = count.parse().context("a count is a number")?;
            requests += count;
            let is_of = |resource: &str| line.contains(&format!("resource=\"{resource}"));
            let is_write = line.contains("verb=\"create\"") || line.contains("verb=\"update\"");
            if is_of("inferencejobs") || is_of("events") || (is_of("secrets\"") && is_write) {
                job_requests += count;
            }
        }
        Ok(Self {
            requests,
            job_requests,
            cpu_seconds: value("process_cpu_seconds_total ")?,
            resident_bytes: value("process_resident_memory_bytes ")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_and_the_lease_are_no_requests_of_a_job() {
        let figures = Figures::parse(
            "# HELP x y\nprocess_cpu_seconds_total 3.5\nprocess_resident_memory_bytes 18000000\n\
             cocoon_kubernetes_requests_total{resource=\"leases\",verb=\"patch\"} 7\n\
             cocoon_kubernetes_requests_total{resource=\"pods\",verb=\"watch\"} 2\n\
             cocoon_kubernetes_requests_total{resource=\"secrets\",verb=\"get\"} 5\n\
             cocoon_kubernetes_requests_total{resource=\"secrets\",verb=\"create\"} 4\n\
             cocoon_kubernetes_requests_total{resource=\"inferencejobs/status\",verb=\"patch\"} 6\n",
        )
        .unwrap();
        let expected = Figures {
            requests: 15.0,
            job_requests: 10.0,
            cpu_seconds: 3.5,
            resident_bytes: 18e6,
        };
        assert_eq!(figures, expected);
    }
}
