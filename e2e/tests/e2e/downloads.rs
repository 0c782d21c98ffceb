//! Models by URL: one download for a node, resumed where it broke; what fails is named.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    conditions,
    crd::{CocoonProvider, InferenceJob, provider::ModelPhase},
};
use e2e::{
    farm::{CHANNEL, Farm, Offer, PROVIDER, prices},
    file_server::FileServer,
    stack::Stack,
    wait,
};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use super::{on_stack, receipts::assert_all_paid};

fn model(name: &str, url: &str, sha256: &str, replicas: u32) -> Value {
    json!({
        "name": name, "source": {"url": url, "sha256": sha256}, "contextLength": 1024, "gpusPerReplica": 0,
        "minReplicas": replicas, "maxReplicas": replicas.max(1), "price": prices(),
    })
}

fn job(model: &str) -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": model},
        "spec": {"model": model, "endpoint": "/v1/completions", "input": {"inline": [{"prompt": "Once upon a time"}]},
                 "parameters": {"maxTokens": 16},
                 "billing": {"mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": 30_000_000}},
    })
}

/// The name of one node that takes pods, as a control plane's may not: agents of these tests share it.
async fn one_node(stack: &Stack) -> Result<String> {
    let nodes = Api::<Node>::all(stack.client.clone())
        .list(&ListParams::default())
        .await?;
    let takes_pods = |node: &&Node| {
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        taints.into_iter().all(|taint| taint.effect == "PreferNoSchedule")
    };
    let name = nodes
        .items
        .iter()
        .find(takes_pods)
        .map(kube::ResourceExt::name_any);
    name.context("no node of the cluster takes pods")
}

async fn offer(farm: &Farm<'_>, models: &[Value], node: &str) -> Result<()> {
    let spec = json!({"models": models, "nodeSelector": {"kubernetes.io/hostname": node}});
    farm.patch::<CocoonProvider>(PROVIDER, &json!({ "spec": spec }))
        .await?;
    Ok(())
}

#[test]
fn two_agents_of_a_node_start_from_one_download_that_goes_on_where_it_broke() -> Result<()> {
    on_stack("downloads", |stack, namespace| async move {
        let path = &stack.description.model_path;
        let mut content = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
        // A file of this run's own, so that no copy of another is there: bytes behind the last tensor belong to none.
        content.extend(namespace.as_bytes());
        let sha256 = {
            use sha2::{Digest as _, Sha256};
            hex::encode(Sha256::digest(&content))
        };
        let server = FileServer::start(&stack, content, 1).await?;
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        let node = one_node(&stack).await?;
        let url = format!("{}/model.gguf?signature=canary-7f3a", server.root);
        offer(&farm, &[model("by-url", &url, &sha256, 2)], &node).await?;
        let both_serve = |provider: &CocoonProvider| {
            let models = provider.status.iter().flat_map(|status| &status.models);
            models.into_iter().any(|model| {
                model.name == "by-url" && model.ready == 2 && model.cached_nodes == [node.clone()]
            })
        };
        let providers = farm.api::<CocoonProvider>();
        let provider = wait::object(
            &providers,
            PROVIDER,
            "both agents serve from the node's copy",
            both_serve,
        )
        .await?;
        let status = serde_json::to_string(&provider.status)?;
        ensure!(
            !status.contains("canary"),
            "no status quotes an address: {status}"
        );
        let heads = server.heads();
        ensure!(
            heads.len() == 2 && !heads[0].contains("range:") && heads[1].contains("range: bytes="),
            "one download, of which the rest was asked for: {heads:?}"
        );
        farm.create::<InferenceJob>(&job("by-url")).await?;
        let job = farm.wait_for("by-url", "Settled").await?;
        assert_all_paid(&farm, &[(&job, 1)]).await
    })
}

#[test]
fn a_download_that_cannot_succeed_names_status_and_digest_and_goes_on_once_the_offer_is_mended() -> Result<()>
{
    on_stack("download-fails", |stack, namespace| async move {
        let server = FileServer::start(&stack, b"<html>sign in</html>".to_vec(), 0).await?;
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        let node = one_node(&stack).await?;
        let (page, missing) = (
            format!("{}/model.gguf", server.root),
            format!("{}/none", server.root),
        );
        let digests = ["ab".repeat(32), "cd".repeat(32), "ef".repeat(32)];
        // A download belongs to its node, whatever else runs there: no scheduler looks at what it asks for.
        let mut greedy = model("greedy", &page, &digests[2], 0);
        greedy["source"]["resources"] = json!({"requests": {"cpu": "100000"}});
        let models = [
            model("page", &page, &digests[0], 0),
            model("missing", &missing, &digests[1], 0),
            greedy,
        ];
        offer(&farm, &models, &node).await?;
        for (name, reason, says) in [
            ("page", "DownloadFailed", "another sha256"),
            ("missing", "DownloadFailed", "HTTP 404"),
            ("greedy", "ModelNotCached", "OutOfcpu"),
        ] {
            farm.create::<InferenceJob>(&job(name)).await?;
            let says_why = |job: &InferenceJob| {
                let status = job.status.iter();
                let mut conditions = status.flat_map(|status| &status.conditions);
                conditions.any(|found| found.reason == reason && found.message.contains(says))
            };
            let jobs = farm.api::<InferenceJob>();
            wait::object(&jobs, name, &format!("it says {says}"), says_why).await?;
            let message = farm.wait_for_reason(name, "Scheduled", reason).await?;
            println!("{name}: {message}");
            ensure!(message.contains(says) && message.contains(&node), "{message}");
        }
        let is_named = |provider: &CocoonProvider| {
            let Some(status) = &provider.status else {
                return false;
            };
            let failed = status
                .models
                .iter()
                .filter(|model| model.phase == ModelPhase::Failed);
            let available = conditions::find(&status.conditions, "AgentsAvailable");
            failed.count() == 2 && available.is_some_and(|found| found.reason == "DownloadFailed")
        };
        let providers = farm.api::<CocoonProvider>();
        wait::object(&providers, PROVIDER, "the offer names both", is_named).await?;
        // The offer names the model's file, from a server that has it.
        let content = fs::read(&stack.description.model_path)?;
        let good = FileServer::start(&stack, content, 0).await?;
        let url = format!("{}/model.gguf", good.root);
        let sha256 = &stack.description.model_sha256;
        let names = ["page", "missing", "greedy"];
        let mended = names.map(|name| model(name, &url, sha256, 0));
        offer(&farm, &mended, &node).await?;
        let mut jobs = Vec::new();
        for name in names {
            jobs.push(farm.wait_for(name, "Settled").await?);
        }
        let paid: Vec<_> = jobs.iter().map(|job| (job, 1)).collect();
        assert_all_paid(&farm, &paid).await?;
        ensure!(
            good.heads().len() <= 1,
            "three offers of one file have one copy: {:?}",
            good.heads()
        );
        Ok(())
    })
}
