//! The operator's page, as `kubectl cocoon dashboard` brings it to a browser.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon,
    conditions::{Reason as _, Settled},
    crd::{CocoonProvider, InferenceJob},
};
use e2e::{
    container::Process,
    farm::{CHANNEL, Farm, MODEL, Offer, PROVIDER, prompts},
    stack::Stack,
    wait,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
};

use super::on_stack;

/// Connections one after the other: more than the page and the command take at once.
const CONNECTIONS: usize = 40;
/// Where the operator serves the page, and where its metrics.
const PAGE_PORT: u16 = 8088;
const METRICS_PORT: u16 = 8080;

/// The running command.
struct Dashboard {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Dashboard {
    async fn open(stack: &Stack) -> Result<Self> {
        let namespace = &stack.description.operator_namespace;
        let arguments = ["dashboard", "--port", "0", "--namespace", namespace];
        let mut command = stack.plugin_command(&arguments);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let out = child.stdout.take().context("the command prints")?;
        let url = BufReader::new(out).lines().next_line().await?;
        let url = url.context("the command ended without an address")?;
        ensure!(url.starts_with("http://localhost:"), "{url}");
        // Each request on a connection of its own.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
        Ok(Self { child, url, http })
    }

    async fn view(&self, path: &str) -> Result<String> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await?;
        let (status, policy) = (
            answer.status(),
            answer.headers().get("content-security-policy").cloned(),
        );
        let html = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {html}");
        let policy = policy.context("an answer has a policy")?;
        ensure!(policy.to_str()?.starts_with("default-src 'none'"), "{policy:?}");
        Ok(html)
    }

    /// All pages of a view, as its links lead from one to the next.
    async fn pages(&self, path: &str) -> Result<String> {
        let mut all = self.view(path).await?;
        for number in 2.. {
            let next = format!("{path}?page={number}");
            if !all.contains(&format!("href=\"{next}\" rel=\"next\"")) {
                break;
            }
            all += &self.view(&next).await?;
        }
        Ok(all)
    }

    /// Waits until a view shows all of this: its store follows the API server.
    async fn shows(&self, path: &str, words: &[&str]) -> Result<()> {
        wait::until(&format!("{path} shows {words:?}"), || async {
            let html = self.pages(path).await?;
            Ok(words.iter().all(|word| html.contains(word)).then_some(()))
        })
        .await
    }

    /// Ctrl-C.
    async fn end(mut self) -> Result<()> {
        let number = self.child.id().context("the command still runs")?.to_string();
        let told = std::process::Command::new("kill")
            .args(["-INT", &number])
            .status()?;
        ensure!(told.success(), "could not interrupt the command");
        let status = self.child.wait().await?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

#[test]
fn the_page_shows_a_paid_job_to_who_forwards_a_port_and_to_nobody_else() -> Result<()> {
    on_stack("dashboard", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        farm.submit("shown", &prompts(2), 100_000_000).await?;
        let job = farm.wait_for("shown", Settled::TYPE).await?;

        let dashboard = Dashboard::open(&stack).await?;
        assert_figures(&farm, &job, &dashboard).await?;
        for _ in 0..CONNECTIONS {
            dashboard.view("/jobs").await?;
        }
        assert_nobody_else_reaches_it(&stack).await?;
        dashboard.end().await?;

        let said = stack
            .kubectl_cocoon(&["dashboard", "--namespace", &namespace], "")
            .await?;
        ensure!(
            !said.succeeded && said.err.contains("no operator runs in namespace"),
            "{}",
            said.err
        );
        Ok(())
    })
}

/// What the views say is what the objects say.
async fn assert_figures(farm: &Farm<'_>, job: &InferenceJob, dashboard: &Dashboard) -> Result<()> {
    let status = job.status.as_ref().context("the job has a status")?;
    let cost = status.cost.spent_nano;
    ensure!(cost > NanoTon::ZERO, "the job cost something");
    let cost = cost.to_ton_string();
    dashboard
        .shows(
            "/jobs",
            &["shown", &farm.namespace, "Settled", MODEL, "2 of 2", &cost],
        )
        .await?;
    dashboard.shows("/channels", &[CHANNEL, "Open", &cost]).await?;
    let settlement = status
        .settlement
        .first()
        .context("the job names its settlement")?;
    let transaction = settlement
        .transaction
        .as_deref()
        .context("the settlement has a transaction")?;
    dashboard
        .shows("/settlements", &["Confirmed", transaction])
        .await?;
    let provider = farm.api::<CocoonProvider>().get(PROVIDER).await?;
    let earnings = provider.status.unwrap_or_default().earnings;
    ensure!(earnings.confirmed_nano.to_ton_string() == cost, "{earnings:?}");
    let settled = earnings
        .last_settled_at
        .context("the provider says when it was paid")?;
    let day = settled.split('T').next().unwrap_or_default();
    // Other farms of this cluster are paid on the same network, so their sums are not this one's.
    dashboard.shows("/", &["Earnings by day", day]).await?;
    dashboard
        .shows("/offers", &[&farm.namespace, PROVIDER, MODEL, &cost])
        .await
}

/// The page is on the loopback of the operator's pod alone: not even the pod itself reaches it by its address.
async fn assert_nobody_else_reaches_it(stack: &Stack) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stack.client.clone(), &stack.description.operator_namespace);
    let params = ListParams::default().labels("app.kubernetes.io/name=cocoon-operator");
    for pod in pods.list(&params).await?.items {
        let operator = Process::of(&pod, "cocoon-operator")?;
        let status = pod.status.as_ref().context("the pod has a status")?;
        let address = status.pod_ip.as_deref().context("the pod has an address")?;
        ensure!(operator.reaches(SocketAddr::new(address.parse()?, METRICS_PORT))?);
        ensure!(operator.reaches(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PAGE_PORT))?);
        ensure!(
            !operator.reaches(SocketAddr::new(address.parse()?, PAGE_PORT))?,
            "the page answers at the pod's address {address}"
        );
    }
    Ok(())
}
