//! `kubectl cocoon results`: a job's answers, after every receipt was verified.

mod input;
mod pages;
pub mod records;
pub mod verify;

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use cocoon_api::{
    NanoTon,
    crd::{CocoonProvider, FullName, InferenceJob, PaymentChannel},
};
use cocoon_ton::Address;
use kube::{Api, ResourceExt as _};

use crate::{
    kubernetes::{Asked as _, Cluster},
    output,
};
use pages::Pages;
use records::Delivered;
use verify::{Expectations, Fault, Verdict, verify};

/// Whose results, and how.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the job.
    job: String,
    /// What to print: answers for people, or results, receipts or tokens as the agent delivered them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Each request's name and answer.
    #[default]
    Text,
    /// One OpenAI batch result a line.
    Jsonl,
    /// One receipt a line, of what was delivered and is billed.
    Receipts,
    /// The tokens of one answer a line, as its receipt counts them.
    Tokens,
}

/// Prints the results of a job; fails where a receipt cannot be believed.
pub async fn run(arguments: Arguments, cluster: &Cluster) -> Result<()> {
    let Arguments { job: name, output } = arguments;
    let jobs: Api<InferenceJob> = cluster.api();
    let job = jobs
        .get_opt(&name)
        .await
        .asked(|| format!("read InferenceJob {name}"))?;
    let job = job.with_context(|| format!("no InferenceJob {name} in namespace {}", cluster.namespace))?;
    print(&job, output, cluster).await
}

/// What a job has cost so far by its receipts; fails where one cannot be believed.
pub async fn spent(job: &InferenceJob, cluster: &Cluster) -> Result<NanoTon> {
    let Some(pages) = pages::load(job, cluster).await? else {
        return Ok(NanoTon::ZERO);
    };
    let (delivered, verdict) = examine(job, &pages, cluster).await?;
    if let Some(fault) = verdict.faults.first() {
        bail!("the receipts of job {} do not verify: {fault}", job.name_any());
    }
    Ok(NanoTon::sum(
        delivered.receipts.iter().map(|receipt| receipt.nano),
    )?)
}

/// Verifies and prints what has landed of a job.
pub async fn print(job: &InferenceJob, format: Format, cluster: &Cluster) -> Result<()> {
    let name = job.name_any();
    let Some(pages) = pages::load(job, cluster).await? else {
        bail!("job {name} has no results yet: {}", standing(job));
    };
    let (delivered, verdict) = examine(job, &pages, cluster).await?;
    for fault in &verdict.faults {
        eprintln!("{fault}");
    }
    eprintln!(
        "{} of {} receipts verified",
        verdict.verified,
        delivered.receipts.len()
    );
    if !delivered.undelivered.is_empty() {
        eprintln!(
            "{} more are of answers that were not delivered, and are free",
            delivered.undelivered.len()
        );
    }
    let shown = match format {
        Format::Text => delivered.text(io::stdout().is_terminal()),
        Format::Jsonl => pages.text.results,
        Format::Receipts => pages.text.receipts,
        Format::Tokens => pages.text.tokens,
    };
    output::print(&shown)?;
    if !verdict.faults.is_empty() {
        bail!("the results of job {name} are not what its receipts say: do not rely on them");
    }
    Ok(())
}

/// Verifies what has landed of a job.
async fn examine(job: &InferenceJob, pages: &Pages, cluster: &Cluster) -> Result<(Delivered, Verdict)> {
    let name = job.name_any();
    let delivered =
        Delivered::parse(&pages.text).with_context(|| format!("could not read the results of job {name}"))?;
    let requests = input::digests(job, cluster).await?;
    if requests.is_empty() {
        eprintln!("the input of job {name} is gone: whether the receipts are of its requests is not checked");
    }
    let contract = contract(job, cluster).await?;
    let wallet = wallet(job, cluster).await?;
    if wallet.is_none() && contract.is_some() {
        eprintln!(
            "the provider of job {name} is gone or may not be read: whether its wallet signed for the agents is not checked"
        );
    }
    let expected = Expectations::of(job, contract, wallet.as_ref(), requests);
    let mut verdict = verify(&delivered, &expected);
    verdict
        .faults
        .extend(pages.faults.iter().cloned().map(Fault::Page));
    Ok((delivered, verdict))
}

/// Address of the contract that pays for the job, as its channel says. Nothing where the channel is gone.
async fn contract(job: &InferenceJob, cluster: &Cluster) -> Result<Option<String>> {
    let Some(reference) = &job.spec.billing.channel_ref else {
        return Ok(None);
    };
    let channels: Api<PaymentChannel> = cluster.api();
    let found = channels.get_opt(&reference.name).await;
    let found = found.asked(|| format!("read PaymentChannel {}", reference.name))?;
    Ok(found.map(|channel| channel.spec.contract_address))
}

/// Address of the wallet of the provider that works on the job. Nothing where the provider is gone or closed to this
/// user.
async fn wallet(job: &InferenceJob, cluster: &Cluster) -> Result<Option<Address>> {
    let agreed = job.status.as_ref().and_then(|status| status.agreed.as_ref());
    let Some(agreed) = agreed else {
        return Ok(None);
    };
    let FullName { namespace, name } = FullName::parse(&agreed.provider, &cluster.namespace);
    let providers: Api<CocoonProvider> = cluster.api_in(&namespace);
    let found = match providers.get_opt(&name).await {
        // Payers need no rights in a farm's namespace.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
        found => found.asked(|| format!("read CocoonProvider {}", agreed.provider))?,
    };
    let parse = |provider: CocoonProvider| {
        let text = provider.spec.payout.signer();
        let address = text.parse();
        address.with_context(|| format!("wallet {text} of CocoonProvider {}", agreed.provider))
    };
    found.map(parse).transpose()
}

fn standing(job: &InferenceJob) -> String {
    let status = job.status.clone().unwrap_or_default();
    match (status.phase, status.waiting_for) {
        (_, Some(waiting)) => waiting,
        (Some(phase), None) => format!("it is {phase:?}"),
        (None, None) => "the operator has not seen it".to_owned(),
    }
}
