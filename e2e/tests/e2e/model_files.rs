//! Model files that are not what the offer says: named, billed to nobody, and mended by a better offer.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon, conditions,
    crd::{CocoonProvider, InferenceJob, provider::ModelPhase},
};
use e2e::{
    farm::{CHANNEL, Farm, Offer, PROVIDER, prices},
    wait,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{on_stack, receipts::assert_all_paid};

/// Until the agents whose file is put on their nodes serve: the kubelet looks for it at longer and longer intervals, of
/// two minutes and two seconds at most; then they start as any other.
const FOUND_LIMIT: Duration = Duration::from_mins(4);

/// One file, and what the agent must say of it: words that are no part of the model's name, which names the pods.
struct Case {
    model: &'static str,
    path: String,
    sha256: String,
    says: &'static str,
}

/// A file beside the model, which every node sees and every agent may read.
fn file(folder: &Path, content: &[u8]) -> Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix("e2e-")
        .suffix(".gguf")
        .tempfile_in(folder)
        .with_context(|| format!("could not make a file in {}", folder.display()))?;
    file.write_all(content)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    Ok(file)
}

fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn model(name: &str, path: &str, sha256: &str) -> Value {
    json!({
        "name": name, "source": {"hostPath": path, "sha256": sha256}, "contextLength": 1024, "gpusPerReplica": 0,
        "price": prices(),
    })
}

fn job(model: &str) -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": model},
        "spec": {"model": model, "endpoint": "/v1/completions", "input": {"inline": [{"prompt": "Once upon a time"}]},
                 "parameters": {"maxTokens": 24},
                 "billing": {"mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": 30_000_000}},
    })
}

/// The provider counts the model as failed, and its words name what is wrong.
async fn assert_named(farm: &Farm<'_>, cases: &[Case]) -> Result<()> {
    let failed = |provider: &CocoonProvider| {
        let status = provider.status.as_ref();
        status.is_some_and(|status| {
            cases.iter().all(|case| {
                let model = status.models.iter().find(|model| model.name == case.model);
                model.is_some_and(|model| model.phase == ModelPhase::Failed)
            })
        })
    };
    let providers = farm.api::<CocoonProvider>();
    let provider = wait::object(&providers, PROVIDER, "the models have failed", failed).await?;
    let conditions = provider.status.unwrap_or_default().conditions;
    let available =
        conditions::find(&conditions, "AgentsAvailable").context("the provider speaks of its agents")?;
    let is_named = cases.iter().any(|case| available.message.contains(case.says));
    ensure!(available.reason == "AgentFailed" && is_named, "{available:?}");
    Ok(())
}

/// Every way in which a file is not the model, and the files, which live as long as they are held.
fn cases(good: &Path) -> Result<(Vec<Case>, [NamedTempFile; 2])> {
    let folder = good.parent().context("the model lies in a folder")?;
    let content = fs::read(good).with_context(|| format!("could not read {}", good.display()))?;
    let half = &content[..content.len() / 2];
    let words = b"<html>404: this is not the file that you are looking for</html>\n".repeat(64);
    let files = [file(folder, half)?, file(folder, &words)?];
    let case = |model, path: &Path, sha256: String, says| Case {
        model,
        path: path.display().to_string(),
        sha256,
        says,
    };
    let cases = vec![
        case("half", files[0].path(), sha256(half), "truncated"),
        case("text", files[1].path(), sha256(&words), "GGUF"),
        case("digest", good, "ab".repeat(32), "sha256"),
    ];
    Ok((cases, files))
}

#[test]
fn a_file_that_is_no_model_is_named_and_its_jobs_go_on_once_the_offer_is_mended() -> Result<()> {
    on_stack("model-files", |stack, namespace| async move {
        let (cases, _files) = cases(&stack.description.model_path)?;
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        let models: Vec<Value> = cases
            .iter()
            .map(|case| model(case.model, &case.path, &case.sha256))
            .collect();
        farm.patch::<CocoonProvider>(PROVIDER, &json!({"spec": {"models": models}}))
            .await?;
        for case in &cases {
            farm.create::<InferenceJob>(&job(case.model)).await?;
        }
        for case in &cases {
            let message = farm
                .wait_for_reason(case.model, "Scheduled", "AgentFailed")
                .await?;
            println!("{}: {message}", case.model);
            // An agent's words are told to the farm alone: see `assert_named`.
            let says_where = message.contains("AgentsAvailable") && message.contains(PROVIDER);
            ensure!(
                says_where && !message.contains(case.says),
                "{}: {message}",
                case.model
            );
            let status = farm.job_status(case.model).await?;
            ensure!(
                status.assignments.is_empty() && status.cost.spent_nano == NanoTon::ZERO,
                "{}: {status:?}",
                case.model
            );
        }
        assert_named(&farm, &cases).await?;
        let channel = farm.channel_status().await?;
        ensure!(channel.accrued_nano == NanoTon::ZERO, "{channel:?}");

        let mended: Vec<Value> = cases
            .iter()
            .map(|case| {
                model(
                    case.model,
                    &stack.description.model_path.display().to_string(),
                    &stack.description.model_sha256,
                )
            })
            .collect();
        farm.patch::<CocoonProvider>(PROVIDER, &json!({"spec": {"models": mended}}))
            .await?;
        let mut jobs = Vec::new();
        for case in &cases {
            jobs.push(farm.wait_for(case.model, "Settled").await?);
        }
        let paid: Vec<_> = jobs.iter().map(|job| (job, 1)).collect();
        assert_all_paid(&farm, &paid).await
    })
}

#[test]
fn a_file_that_is_not_on_the_node_is_named_and_its_job_goes_on_once_it_is_there() -> Result<()> {
    on_stack("model-missing", |stack, namespace| async move {
        let good = &stack.description.model_path;
        let folder = good.parent().context("the model lies in a folder")?;
        // In a folder of its own, which goes with the test and takes the file along.
        let folder = tempfile::Builder::new()
            .prefix("e2e-")
            .tempdir_in(folder)
            .with_context(|| format!("could not make a folder in {}", folder.display()))?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let missing = folder.path().join("later.gguf");
        let path = missing.display().to_string();

        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        let models = [model("later", &path, &stack.description.model_sha256)];
        farm.patch::<CocoonProvider>(PROVIDER, &json!({"spec": {"models": models}}))
            .await?;
        farm.create::<InferenceJob>(&job("later")).await?;
        let message = farm
            .wait_for_reason("later", "Scheduled", "ModelNotCached")
            .await?;
        println!("{message}");
        ensure!(message.contains(&format!("hostPath {path} on node")), "{message}");
        let says_so = |provider: &CocoonProvider| {
            let status = provider.status.as_ref();
            let found = status.and_then(|status| conditions::find(&status.conditions, "AgentsAvailable"));
            found.is_some_and(|found| found.reason == "ModelNotCached" && found.message.contains(&path))
        };
        let providers = farm.api::<CocoonProvider>();
        wait::object(&providers, PROVIDER, "the offer names the file", says_so).await?;

        // Renamed when it is whole, so that no agent sees a part of it.
        let part = folder.path().join("part");
        fs::copy(good, &part)
            .with_context(|| format!("could not copy {} to {}", good.display(), part.display()))?;
        fs::set_permissions(&part, fs::Permissions::from_mode(0o644))?;
        fs::rename(&part, &missing).with_context(|| format!("could not put {path} in place"))?;
        wait::within(FOUND_LIMIT, "the job is dispatched", || async {
            let job = farm.api::<InferenceJob>().get("later").await?;
            let status = job.status.unwrap_or_default();
            Ok(conditions::is_true(&status.conditions, "Scheduled").then_some(()))
        })
        .await?;
        let job = farm.wait_for("later", "Settled").await?;
        assert_all_paid(&farm, &[(&job, 1)]).await
    })
}
