//! Which pod serves the page.

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use crate::kubernetes::Asked as _;

/// Labels of the chart's operators.
const SELECTOR: &str = "app.kubernetes.io/name=cocoon-operator,app.kubernetes.io/component=operator";
/// Name of the port in the operator's pod.
const PORT_NAME: &str = "page";
/// Operators that are looked at: replicas of a release or two.
const MOST: u32 = 100;

/// The pod that serves the page, and on which port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    pub pod: String,
    pub port: u16,
}

impl Operator {
    /// Looks for it.
    pub async fn find(client: &Client, namespace: &str) -> Result<Self> {
        let params = ListParams::default().limit(MOST);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let found = pods.list(&params.clone().labels(SELECTOR)).await;
        let found = found.asked(|| format!("list pods of namespace {namespace}"))?;
        // Who may not read leases sees the page of any operator, which says so where it does not lead.
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let leases = leases
            .list(&params)
            .await
            .map(|list| list.items)
            .unwrap_or_default();
        Self::among(&found.items, &leases, namespace)
    }

    /// The one that leads, or the first that is ready.
    fn among(pods: &[Pod], leases: &[Lease], namespace: &str) -> Result<Self> {
        if pods.is_empty() {
            bail!(
                "no operator runs in namespace {namespace}: name its namespace with -n; \
                 `kubectl get pods -A -l app.kubernetes.io/name=cocoon-operator` finds it"
            );
        }
        let ready: Vec<&Pod> = pods.iter().filter(|pod| is_ready(pod)).collect();
        let leads = |pod: &&&Pod| {
            let name = pod.name_any();
            let mut holders = leases
                .iter()
                .filter_map(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
            holders.any(|holder| holder == name)
        };
        let pod = ready.iter().find(leads).or(ready.first()).with_context(|| {
            format!(
                "no operator in namespace {namespace} is ready: `kubectl get pods -n {namespace}` says why"
            )
        })?;
        let port = page_port(pod).with_context(|| {
            format!(
                "the operator in namespace {namespace} serves no page: turn it on with \
                 `helm upgrade RELEASE CHART -n {namespace} --reuse-values --set webPage.enabled=true`"
            )
        })?;
        Ok(Self {
            pod: pod.name_any(),
            port,
        })
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let is_gone = pod.metadata.deletion_timestamp.is_some();
    !is_gone
        && conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn page_port(pod: &Pod) -> Option<u16> {
    let containers = pod.spec.as_ref()?.containers.iter();
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(PORT_NAME))?;
    u16::try_from(port.container_port).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, ready: &str, ports: &[(&str, u16)]) -> Pod {
        let ports: Vec<_> = ports
            .iter()
            .map(|(name, port)| json!({"name": name, "containerPort": port}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "operator", "ports": ports}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn lease(holder: &str) -> Lease {
        serde_json::from_value(
            json!({"metadata": {"name": "cocoon-operator"}, "spec": {"holderIdentity": holder}}),
        )
        .unwrap()
    }

    const BOTH: [(&str, u16); 2] = [("http", 8080), ("page", 8088)];

    #[test]
    fn the_operator_that_leads_is_taken_and_otherwise_one_that_is_ready() {
        let pods = [
            pod("a", "False", &BOTH),
            pod("b", "True", &BOTH),
            pod("c", "True", &BOTH),
        ];
        let name = |leases: &[Lease]| Operator::among(&pods, leases, "n").unwrap().pod;
        assert_eq!(name(&[lease("x"), lease("c")]), "c");
        assert_eq!(name(&[]), "b");
        assert_eq!(
            name(&[lease("a")]),
            "b",
            "one that is not ready cannot show anything"
        );
        assert_eq!(Operator::among(&pods, &[], "n").unwrap().port, 8088);
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let said = |pods: &[Pod]| Operator::among(pods, &[], "here").unwrap_err().to_string();
        let none = said(&[]);
        assert!(
            none.contains("no operator runs in namespace here") && none.contains("-n"),
            "{none}"
        );
        let unready = said(&[pod("a", "False", &BOTH)]);
        assert!(
            unready.contains("is ready") && unready.contains("kubectl get pods -n here"),
            "{unready}"
        );
        let off = said(&[pod("a", "True", &[("http", 8080)])]);
        assert!(
            off.contains("serves no page") && off.contains("webPage.enabled=true"),
            "{off}"
        );
    }
}
