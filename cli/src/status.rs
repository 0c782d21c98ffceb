//! `kubectl cocoon status`: a farm's day at a glance.

mod render;
mod report;

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use cocoon_api::crd::{CocoonProvider, FullName, InferenceJob, ProviderReference};
use cocoon_core::placement::demand::chosen;
use jiff::Zoned;
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{
    kubernetes::{self, Asked as _, Cluster},
    output::{self, Format},
};
use report::Report;

/// Objects that the API server answers at once: bounded answers however many jobs there are.
const PAGE: u32 = 500;

/// What to show.
#[derive(Debug, Args)]
pub struct Arguments {
    /// All namespaces.
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// This provider alone, and its jobs in the namespace: a payer sees the farm that serves it.
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = kubernetes::provider)]
    provider: Option<ProviderReference>,
    /// Print it again every two seconds, until interrupted.
    #[arg(long, short)]
    watch: bool,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

/// Between two looks with `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Prints providers, their models and the jobs that wait, once or until interrupted.
pub async fn run(arguments: Arguments, cluster: &Cluster) -> Result<()> {
    if !arguments.watch {
        return output::print(&shown(&arguments, cluster).await?);
    }
    let is_screen = std::io::stdout().is_terminal() && arguments.output == Format::Table;
    let mut looks = Looks::default();
    loop {
        let seen = looks.take(shown(&arguments, cluster).await)?;
        let (before, after) = match (is_screen, arguments.output) {
            // A screen that is cleared before everything is known flickers.
            (true, _) => (CLEAR, ""),
            (false, Format::Table) => ("", "\n"),
            (false, Format::Json) => ("", ""),
        };
        // What standard error tells instead stays to be read.
        if !seen.is_empty() && !output::print_on(&format!("{before}{seen}{after}"))? {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
            interrupt = tokio::signal::ctrl_c() => return interrupt.context("could not listen for interrupts"),
        }
    }
}

/// Looks that are taken again and again: what fails after one that did not is tried again, since servers come back.
#[derive(Default)]
struct Looks {
    has_seen: bool,
}

impl Looks {
    /// What was seen; nothing where a look failed, of which standard error tells.
    fn take(&mut self, look: Result<String>) -> Result<String> {
        match look {
            Err(error) if self.has_seen => {
                eprintln!("error: {error:#}; it is tried again");
                Ok(String::new())
            }
            look => {
                self.has_seen = true;
                look
            }
        }
    }
}

/// What there is to see, as it is printed.
async fn shown(arguments: &Arguments, cluster: &Cluster) -> Result<String> {
    let mut jobs: Vec<InferenceJob> = list(arguments.all_namespaces, cluster, "InferenceJobs").await?;
    let providers: Vec<CocoonProvider> = match &arguments.provider {
        None => list(arguments.all_namespaces, cluster, "CocoonProviders").await?,
        Some(reference) => {
            let full_name = reference.full_name(&cluster.namespace);
            jobs.retain(|job| chosen(job).as_ref() == Some(&full_name));
            vec![one(&full_name, cluster).await?]
        }
    };
    let now = Zoned::now();
    let today = now
        .start_of_day()
        .context("could not tell when today began")?
        .timestamp();
    let report = Report::of(&providers, &jobs, today, now.timestamp());
    match arguments.output {
        Format::Json => Ok(format!("{:#}\n", serde_json::to_value(&report)?)),
        Format::Table if providers.is_empty() && jobs.is_empty() => {
            let here = if arguments.all_namespaces {
                "the cluster"
            } else {
                &cluster.namespace
            };
            eprintln!("no providers and no jobs in {here}");
            Ok(String::new())
        }
        Format::Table => Ok(report.render()),
    }
}

async fn one(provider: &FullName, cluster: &Cluster) -> Result<CocoonProvider> {
    let FullName { namespace, name } = provider;
    let api: Api<CocoonProvider> = cluster.api_in(namespace);
    let found = api.get_opt(name).await;
    let found = found.asked(|| format!("read CocoonProvider {provider}"))?;
    found.with_context(|| format!("no CocoonProvider {name} in namespace {namespace}"))
}

async fn list<K>(all: bool, cluster: &Cluster, what: &str) -> Result<Vec<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = if all {
        Api::all(cluster.client.clone())
    } else {
        cluster.api()
    };
    kubernetes::list(&api, ListParams::default().limit(PAGE), what).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_goes_on_when_the_server_comes_back_and_ends_where_nothing_was_ever_seen() {
        let gone = || {
            Err(anyhow::anyhow!(
                "could not list CocoonProviders: connection refused"
            ))
        };
        let mut looks = Looks::default();
        assert!(looks.take(gone()).is_err(), "a wrong address is told at once");
        let mut looks = Looks::default();
        assert_eq!(looks.take(Ok("first".to_owned())).expect("seen"), "first");
        assert_eq!(looks.take(gone()).expect("tried again"), "");
        assert_eq!(looks.take(Ok("second".to_owned())).expect("seen"), "second");
    }
}
