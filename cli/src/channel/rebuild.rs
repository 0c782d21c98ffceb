//! `channel rebuild`: proves from receipts what a ledger lost, and lets the provider say so.
//!
//! For the farm, whose cluster was restored from a backup. What is proven goes into `spec.payout.rulings` of the
//! provider's object, which payers cannot write.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use cocoon_api::{
    NanoTon, Subject,
    crd::{
        CocoonProvider, FullName, InferenceJob, PaymentChannel,
        provider::{Rebuilt, Ruling},
    },
    names::{MANAGED_BY_LABEL, RECEIPTS_KEY},
    receipt::{AgentKey, Receipt},
};
use cocoon_core::{
    ledger::rebuild::{Proof, Remains, Standing, prove},
    settlement::pays,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::object;
use crate::{
    chain,
    kubernetes::{Asked as _, Cluster, FIELD_MANAGER, list},
    results::records,
    table::Table,
};

/// Secrets of results asked for at once: each is up to 1 MiB.
const SECRETS_PAGE: u32 = 8;
/// Of one file of receipts, each of about 1.2 kB: what a full ledger of a thousand jobs with fifty requests has.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Which ledger, and what it is rebuilt from.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the channel.
    name: String,
    /// Only print what is proven.
    #[arg(long)]
    dry_run: bool,
    /// More receipts than the namespace's results hold, one a line, as `kubectl cocoon results JOB -o receipts` prints
    /// them.
    #[arg(long, value_name = "FILE")]
    receipts: Vec<PathBuf>,
    /// Public key of an agent of this provider, where neither jobs nor certificates say so, as 64 hexadecimal digits.
    #[arg(long, value_name = "KEY")]
    agent: Vec<AgentKey>,
    #[command(flatten)]
    chain: chain::Arguments,
}

/// Attempts to store a ruling: the operator writes the provider's status every few seconds at most, and each attempt
/// takes far less.
const RULING_ATTEMPTS: u32 = 5;

/// Proves, prints, and stores the ruling.
pub(super) async fn run(arguments: Arguments, cluster: &Cluster) -> Result<()> {
    let Arguments {
        name,
        dry_run,
        receipts: files,
        agent,
        chain,
    } = arguments;
    let channel = object::read(&name, cluster).await?;
    let ledger = channel.status.clone().unwrap_or_default();
    let redeemed = redeemed(&channel, &chain).await?;
    let jobs = jobs(cluster).await?;
    let mut receipts = stored(cluster).await?;
    for path in &files {
        let found =
            file(path).with_context(|| format!("could not use the receipts in {}", path.display()))?;
        receipts.extend(found);
    }
    let agents = agents(&jobs, agent);
    let uid = channel.uid().unwrap_or_default();
    let proof = prove(&Remains {
        ledger: &ledger,
        channel_uid: &uid,
        contract: &channel.spec.contract_address,
        jobs: &jobs,
        agents: &agents,
        receipts: &receipts,
        redeemed,
    })
    .with_context(|| format!("the ledger of channel {name} cannot be rebuilt"))?;
    print!("{}", table(&proof, &jobs));
    println!("{}", sums(&proof));
    if dry_run {
        return Ok(());
    }
    let provider = &pays(&channel);
    rule(provider, &uid, proof.rebuilt, cluster).await?;
    println!("CocoonProvider {provider} says so for channel {name}: its operator goes on with the next look");
    Ok(())
}

/// What the contract paid: as an endpoint shows it where one is given, and as the operator saw it otherwise.
async fn redeemed(channel: &PaymentChannel, chain: &chain::Arguments) -> Result<NanoTon> {
    let status = channel.status.clone().unwrap_or_default();
    let seen = status.unexplained_nano.unwrap_or(status.redeemed_nano);
    if !chain.has_endpoint() {
        return Ok(seen);
    }
    let network = chain.network(&channel.spec.network)?;
    let address = object::address(channel, &network)?;
    let shown = chain.connect(network).await?.channel(&address).await?.redeemed;
    ensure!(
        shown == seen,
        "the contract shows {shown} nanoTON redeemed, and the operator saw {seen}: wait until both agree"
    );
    Ok(shown)
}

async fn jobs(cluster: &Cluster) -> Result<BTreeMap<String, InferenceJob>> {
    let found: Vec<InferenceJob> = list(
        &cluster.api(),
        ListParams::default().limit(SECRETS_PAGE),
        "InferenceJobs",
    )
    .await?;
    Ok(found
        .into_iter()
        .filter_map(|job| Some((job.uid()?, job)))
        .collect())
}

/// Receipts of everything that was delivered and is still there, whether or not its job is.
async fn stored(cluster: &Cluster) -> Result<Vec<Receipt>> {
    let params = ListParams::default()
        .labels(&format!("{MANAGED_BY_LABEL}=cocoon-operator"))
        .fields("type=cocoon.farm/results")
        .limit(SECRETS_PAGE);
    let secrets: Vec<Secret> = list(&cluster.api(), params, "Secrets").await?;
    let mut receipts = Vec::new();
    for secret in secrets {
        let name = secret.name_any();
        let Some(bytes) = secret.data.unwrap_or_default().remove(RECEIPTS_KEY) else {
            continue;
        };
        let text = std::str::from_utf8(&bytes.0)
            .map_err(|_| anyhow::anyhow!("{RECEIPTS_KEY} in Secret {name} is not text"))?;
        let of_job: Vec<Receipt> =
            records::lines(text, RECEIPTS_KEY).with_context(|| format!("could not read Secret {name}"))?;
        receipts.extend(of_job);
    }
    Ok(receipts)
}

fn file(path: &Path) -> Result<Vec<Receipt>> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    ensure!(
        text.len() as u64 <= MAX_FILE_BYTES,
        "it holds more than {MAX_FILE_BYTES} bytes"
    );
    records::lines(&text, RECEIPTS_KEY)
}

/// Keys that jobs' statuses name, which only the operator writes, and those that the provider vouches for.
fn agents(jobs: &BTreeMap<String, InferenceJob>, given: Vec<AgentKey>) -> BTreeSet<AgentKey> {
    let recorded = jobs
        .values()
        .filter_map(|job| job.status.as_ref())
        .flat_map(|status| &status.assignments)
        .filter_map(|assignment| assignment.agent.parse().ok());
    recorded.chain(given).collect()
}

fn table(proof: &Proof, jobs: &BTreeMap<String, InferenceJob>) -> Table {
    let mut table = Table::new(&["JOB", "ATTEMPT", "AGENT", "RECEIPTS", "TON", "STANDING"]);
    for row in &proof.rows {
        let standing = match row.standing {
            Standing::Open(_) => "open: it hands its usage over by itself",
            Standing::Finished => "finished",
            Standing::Elsewhere => "on another ledger",
            Standing::Gone => "gone",
        };
        let (name, attempt) = match &row.subject {
            Subject::Job { uid, attempt } => {
                let job = jobs.get(uid);
                let name = job.map_or_else(|| uid.clone(), InferenceJob::name_any);
                (name, attempt.to_string())
            }
            Subject::Session { id } => (format!("session {id}"), "-".to_owned()),
        };
        table.row([
            name,
            attempt,
            row.agent.to_string().chars().take(16).collect(),
            row.receipts.to_string(),
            row.nano.to_ton_string(),
            standing.to_owned(),
        ]);
    }
    table
}

fn sums(proof: &Proof) -> Table {
    let Proof {
        rebuilt,
        metered,
        added,
        ..
    } = proof;
    let mut table = Table::new(&["SUM", "TON"]);
    let figures = [
        ("redeemed by the contract", rebuilt.redeemed_nano),
        ("metered, as the ledger says", *metered),
        ("receipts of finished jobs", rebuilt.finished_nano),
        ("receipts of jobs that are gone", rebuilt.gone_nano),
        ("of both, added to the ledger", *added),
        ("receipts of jobs that go on", rebuilt.open_nano),
    ];
    for (what, nano) in figures {
        table.row([what.to_owned(), nano.to_ton_string()]);
    }
    table
}

/// Puts the proof into the provider's rulings, beside what they say of other channels.
async fn rule(provider: &FullName, uid: &str, rebuilt: Rebuilt, cluster: &Cluster) -> Result<()> {
    let FullName { namespace, name } = provider;
    let api: Api<CocoonProvider> = cluster.api_in(namespace);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    for left in (0..RULING_ATTEMPTS).rev() {
        let found = api.get_opt(name).await;
        let Some(provider) = found.asked(|| format!("read CocoonProvider {name}"))? else {
            bail!("no CocoonProvider {name} in namespace {namespace}");
        };
        // The whole list is replaced, so that it must be the one that was read.
        let patch = json!({
            "metadata": {"resourceVersion": provider.resource_version()},
            "spec": {"payout": {"rulings": with(provider.spec.payout.rulings, uid, rebuilt)}},
        });
        match api.patch(name, &params, &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.is_conflict() && left > 0 => {}
            answer => {
                answer.asked(|| format!("store the ruling in CocoonProvider {name}"))?;
                return Ok(());
            }
        }
    }
    Ok(())
}

fn with(mut rulings: Vec<Ruling>, uid: &str, rebuilt: Rebuilt) -> Vec<Ruling> {
    match rulings.iter_mut().find(|ruling| ruling.uid == uid) {
        Some(ruling) => ruling.rebuilt = Some(rebuilt),
        None => rulings.push(Ruling {
            uid: uid.to_owned(),
            write_off: false,
            acknowledged_nano: None,
            rebuilt: Some(rebuilt),
        }),
    }
    rulings
}

#[cfg(test)]
mod tests;
