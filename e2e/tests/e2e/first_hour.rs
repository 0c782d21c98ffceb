//! The first hour of a farm and of a payer, by the commands of their pages and by the examples.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    conditions::{self, Complete, Ready, Reason as _, WalletReady},
    crd::CocoonProvider,
};
use cocoon_ton::{Address, SecretKey, Signer as _, Wallet};
use e2e::{
    farm::{Farm, MODEL, Offer, ton},
    stack::Stack,
    wait,
};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::on_stack;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// What a command of the plugin prints where it succeeds.
async fn cocoon(stack: &Stack, namespace: &str, words: &[&str], key: &str) -> Result<String> {
    let said = stack
        .kubectl_cocoon(&[words, &["--namespace", namespace]].concat(), key)
        .await?;
    println!("$ kubectl cocoon {}\n{}{}", words.join(" "), said.err, said.out);
    said.success()
}

/// The address that `init` printed, on a line of its own.
fn address(printed: &str) -> Result<(String, Address)> {
    let text = printed
        .lines()
        .map(str::trim)
        .find(|line| line.parse::<Address>().is_ok())
        .context("no address was printed")?;
    Ok((text.to_owned(), text.parse()?))
}

/// Makes the farm's wallet; answers its address.
async fn make_wallet(stack: &Stack, namespace: &str) -> Result<(String, Address)> {
    let printed = cocoon(stack, namespace, &["init"], "").await?;
    let (wallet, wallet_address) = address(&printed)?;
    let secret = Api::<Secret>::namespaced(stack.client.clone(), namespace)
        .get("farm-wallet")
        .await?;
    let words = String::from_utf8(secret.data.unwrap_or_default()["key"].0.clone())?;
    let key = SecretKey::parse(&words).context("the Secret holds a wallet")?;
    let derived = Wallet::new(key.public_key(), &stack.network()).address();
    ensure!(derived == wallet_address, "the address is not that of the words");
    ensure!(
        words.split(' ').all(|word| printed.contains(word)),
        "the words are shown"
    );
    let again = stack
        .kubectl_cocoon(&["init", "--namespace", namespace], "")
        .await?;
    ensure!(
        !again.succeeded && again.err.contains("farm-wallet"),
        "a wallet is never written over: {}",
        again.err
    );
    Ok((wallet, wallet_address))
}

/// Offers the model, and waits until the offer stands.
async fn offer_model(stack: &Stack, namespace: &str, wallet: &str) -> Result<()> {
    let file = stack.description.model_path.display().to_string();
    let offer = [
        "model",
        "add",
        &file,
        "--name",
        MODEL,
        "--price",
        "300",
        "--backend",
        "cpu",
        "--payout",
        wallet,
        "--network",
        &stack.description.network,
    ];
    let manifest = cocoon(stack, namespace, &offer, "").await?;
    stack
        .kubectl_with(&["--namespace", namespace, "apply", "--filename", "-"], &manifest)
        .await?;
    let providers: Api<CocoonProvider> = Api::namespaced(stack.client.clone(), namespace);
    wait::object(
        &providers,
        "farm",
        "the provider is ready",
        |provider: &CocoonProvider| {
            provider.status.as_ref().is_some_and(|status| {
                [Ready::TYPE, WalletReady::TYPE]
                    .iter()
                    .all(|type_| conditions::is_true(&status.conditions, type_))
            })
        },
    )
    .await?;
    Ok(())
}

/// Makes a payer's wallet and channel, and asks a question.
async fn ask(stack: &Stack, namespace: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("payer.key");
    let file = file.to_str().context("the path is text")?;
    let printed = cocoon(stack, namespace, &["init", "--key-file", file], "").await?;
    stack.give(&address(&printed)?.1, ton("5")).await?;
    let open = [
        "channel",
        "open",
        "payer",
        "--provider",
        "farm",
        "--deposit",
        "1",
        "--cap",
        ".9",
        "--key-file",
        file,
    ];
    cocoon(stack, namespace, &open, "").await?;
    let run = [
        "run",
        "--model",
        MODEL,
        "--channel",
        "payer",
        "--max",
        ".1",
        "--max-tokens",
        "8",
        "--chat",
        "What is Kubernetes?",
    ];
    let answer = cocoon(stack, namespace, &run, "").await?;
    ensure!(!answer.trim().is_empty(), "no answer was printed");
    Ok(())
}

#[test]
fn a_farm_from_nothing_is_made_by_its_commands_and_paid() -> Result<()> {
    on_stack("first-hour", |stack, namespace| async move {
        let (wallet, address) = make_wallet(&stack, &namespace).await?;
        stack.give(&address, ton("1")).await?;
        offer_model(&stack, &namespace, &wallet).await?;
        ask(&stack, &namespace).await?;

        let shown = cocoon(&stack, &namespace, &["wallet"], "").await?;
        ensure!(
            shown.contains(&wallet) && shown.contains("enough for the fees of"),
            "{shown}"
        );
        let screen = cocoon(&stack, &namespace, &["status"], "").await?;
        ensure!(screen.contains(&namespace) && screen.contains(MODEL), "{screen}");
        ensure!(screen.lines().all(|line| line.chars().count() <= 100), "{screen}");
        Ok(())
    })
}

#[test]
fn every_example_is_taken_by_the_cluster_and_its_jobs_are_answered() -> Result<()> {
    on_stack("examples", |stack, namespace| async move {
        let folder = examples();
        let path = |name: &str| folder.join(name).display().to_string();
        for name in ["wallet", "provider", "by-url", "pods", "channel"] {
            let file = path(&format!("farm/{name}.yaml"));
            stack
                .kubectl(&[
                    "--namespace",
                    &namespace,
                    "apply",
                    "--dry-run=server",
                    "--filename",
                    &file,
                ])
                .await?;
        }
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.9").await?;
        for name in ["resource-quota", "chat-job", "batch", "first-job"] {
            let file = path(&format!("{name}.yaml"));
            stack
                .kubectl(&["--namespace", &namespace, "apply", "--filename", &file])
                .await?;
        }
        for (job, requests) in [("chat", 2), ("batch", 3), ("first-job", 6)] {
            let status = farm
                .wait_for(job, Complete::TYPE)
                .await?
                .status
                .context("the job has a status")?;
            ensure!(
                status.requests.succeeded == requests,
                "{job}: {} of {requests} requests were answered",
                status.requests.succeeded
            );
        }
        Ok(())
    })
}
