//! Bad input: a clear error that names the field or file, and nothing lost.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::{CocoonProvider, InferenceJob, PaymentChannel};
use e2e::{
    farm::{CHANNEL, Farm, MODEL, Offer, PROVIDER},
    stack::Stack,
    wait,
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{on_stack, receipts::Delivered};

/// The API server must refuse the manifest, and say `words`.
async fn refused(stack: &Stack, namespace: &str, manifest: &Value, words: &str) -> Result<()> {
    let arguments = [
        "--namespace",
        namespace,
        "create",
        "--dry-run=server",
        "--filename",
        "-",
    ];
    let error = match stack.kubectl_with(&arguments, &manifest.to_string()).await {
        Ok(answer) => anyhow::bail!("accepted, although it should say {words:?}: {answer}{manifest}"),
        Err(error) => error.to_string(),
    };
    ensure!(error.contains(words), "{error:?} does not say {words:?}");
    Ok(())
}

fn job(change: impl FnOnce(&mut Value)) -> Value {
    let mut job = json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "bad"},
        "spec": {"model": MODEL, "endpoint": "/v1/completions", "input": {"inline": [{"prompt": "x"}]},
                 "parameters": {"maxTokens": 4},
                 "billing": {"mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": 1_000_000}},
    });
    change(&mut job["spec"]);
    job
}

fn channel(change: impl FnOnce(&mut Value)) -> Value {
    let mut channel = json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel", "metadata": {"name": "bad"},
        "spec": {"provider": {"name": PROVIDER}, "network": "testbed",
                 "contractAddress": format!("0:{}", "00".repeat(32)), "payerPublicKey": "00".repeat(32)},
    });
    change(&mut channel["spec"]);
    channel
}

#[test]
fn the_api_server_refuses_jobs_that_no_world_can_make_right() -> Result<()> {
    on_stack("bad-jobs", |stack, namespace| async move {
        let cases: Vec<(Value, &str)> = vec![
            (
                job(|spec| spec["input"] = json!({"inline": []})),
                "spec.input.inline",
            ),
            (
                job(|spec| spec["input"]["configMapRef"] = json!({"name": "a", "key": "b"})),
                "exactly one of inline, configMapRef and secretRef",
            ),
            (
                job(|spec| spec["input"] = json!({})),
                "exactly one of inline, configMapRef and secretRef",
            ),
            (
                job(|spec| spec["billing"] = json!({"mode": "Channel"})),
                "mode Channel needs channelRef and maxNano",
            ),
            (
                job(|spec| spec["billing"]["mode"] = json!("Free")),
                "mode Free takes neither",
            ),
            (
                job(|spec| spec["billing"]["maxNano"] = json!(-1)),
                "spec.billing.maxNano",
            ),
            (
                job(|spec| spec["billing"]["maxNano"] = json!(0)),
                "spec.billing.maxNano",
            ),
            (
                job(|spec| spec["billing"]["maxNano"] = json!(9_223_372_036_854_775_808_u64)),
                "spec.billing.maxNano",
            ),
            (
                job(|spec| spec["parameters"]["temperature"] = json!(3)),
                "spec.parameters.temperature",
            ),
            (job(|spec| spec["parallelism"] = json!(0)), "spec.parallelism"),
            (job(|spec| spec["model"] = json!("Not A Name")), "spec.model"),
            (
                job(|spec| spec["endpoint"] = json!("/v1/embeddings")),
                "spec.endpoint",
            ),
        ];
        for (manifest, words) in &cases {
            refused(&stack, &namespace, manifest, words).await?;
        }
        Ok(())
    })
}

#[test]
fn the_api_server_refuses_offers_and_channels_that_contradict_themselves() -> Result<()> {
    on_stack("bad-offers", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        let offer = |change: fn(&mut Value)| {
            let mut offer = farm.provider(&Offer::of(&stack));
            offer["metadata"]["name"] = json!("bad");
            change(&mut offer["spec"]);
            offer
        };
        let cases = vec![
            (
                offer(|spec| {
                    spec["models"][0]["source"]["pvc"] = json!({"claimName": "c", "path": "m.gguf"});
                }),
                "exactly one of hostPath, pvc and url",
            ),
            (
                offer(|spec| spec["models"][0]["source"]["sha256"] = json!("abc")),
                "sha256",
            ),
            (
                offer(|spec| spec["models"][0]["source"]["hostPath"] = json!("/models/../etc/shadow")),
                "must not contain ..",
            ),
            (
                offer(|spec| spec["models"][0]["minReplicas"] = json!(9)),
                "minReplicas must not exceed maxReplicas",
            ),
            (
                offer(|spec| spec["models"][0]["price"]["prompt"] = json!(-5)),
                "price.prompt",
            ),
            (
                offer(|spec| {
                    spec["backend"] = json!("CUDA");
                    spec["models"][0]["gpusPerReplica"] = json!(0);
                }),
                "gpusPerReplica may be 0 only with backend CPU",
            ),
            (
                offer(|spec| spec["payout"]["settle"]["maxFeeRatio"] = json!("2")),
                "maxFeeRatio",
            ),
            (
                channel(|spec| spec["payerPublicKey"] = json!("xyz")),
                "payerPublicKey",
            ),
            (
                channel(|spec| {
                    spec["voucher"] =
                        json!({"capNano": 0, "validUntil": 1, "epoch": 0, "signature": "00".repeat(64)});
                }),
                "capNano",
            ),
        ];
        for (manifest, words) in &cases {
            refused(&stack, &namespace, manifest, words).await?;
        }
        Ok(())
    })
}

#[test]
fn a_voucher_may_only_be_raised() -> Result<()> {
    on_stack("bad-voucher", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        let channels = farm.api::<PaymentChannel>();
        let before = channels.get(CHANNEL).await?;
        let voucher = before.spec.voucher.clone().context("open signs a voucher")?;

        let patch = |change: Value| Patch::Merge(json!({"spec": change}));
        let lowered = channels
            .patch(
                CHANNEL,
                &PatchParams::default(),
                &patch(json!({"voucher": {"capNano": voucher.cap_nano.nano() - 1}})),
            )
            .await;
        ensure!(
            lowered
                .unwrap_err()
                .to_string()
                .contains("a voucher may only be raised")
        );
        let moved = channels
            .patch(
                CHANNEL,
                &PatchParams::default(),
                &patch(json!({"contractAddress": format!("0:{}", "11".repeat(32))})),
            )
            .await;
        ensure!(
            moved
                .unwrap_err()
                .to_string()
                .contains("only the voucher may change")
        );

        // Raised without the payer's signature: accepted as an object, refused as money.
        channels
            .patch(
                CHANNEL,
                &PatchParams::default(),
                &patch(json!({"voucher": {"capNano": voucher.cap_nano.nano() + 1}})),
            )
            .await?;
        let reason = |channel: &PaymentChannel| {
            let status = channel.status.as_ref()?;
            cocoon_api::conditions::find(&status.conditions, "VoucherValid")
                .map(|condition| condition.reason.clone())
        };
        wait::object(&channels, CHANNEL, "the forged voucher is refused", |channel| {
            reason(channel).as_deref() == Some("BadSignature")
        })
        .await?;
        farm.submit("unpaid", &["Once upon a time"], 20_000_000).await?;
        farm.wait_for_reason("unpaid", "FundsReserved", "VoucherInvalid")
            .await?;

        farm.authorize("0.6").await?;
        farm.wait_for("unpaid", "Complete").await?;
        Ok(())
    })
}

#[test]
fn one_prompt_that_is_too_long_fails_and_the_others_finish() -> Result<()> {
    on_stack("too-long", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        let long = "word ".repeat(3_000);
        farm.submit(
            "mixed",
            &["Once upon a time", &long, "Kubernetes is"],
            100_000_000,
        )
        .await?;
        let job = farm.wait_for("mixed", "Settled").await?;
        let requests = job.status.context("the job has a status")?.requests;
        ensure!((requests.succeeded, requests.failed) == (2, 1), "{requests:?}");
        let delivered = Delivered::of(&farm, "mixed").await?;
        delivered.check()?;
        let failure = delivered.lines[1].error.as_ref().context("the second failed")?;
        ensure!(failure.code == "context_length_exceeded", "{}", failure.code);
        ensure!(
            failure.message.contains("1024"),
            "the message names the context: {}",
            failure.message
        );
        Ok(())
    })
}

#[test]
fn a_model_that_nobody_offers_is_named() -> Result<()> {
    on_stack("unknown-model", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        farm.create::<InferenceJob>(&job(|spec| spec["model"] = json!("gpt-7")))
            .await?;
        let message = farm.wait_for_reason("bad", "Accepted", "ModelUnknown").await?;
        ensure!(message.contains("gpt-7"), "{message}");
        Ok(())
    })
}

#[test]
fn a_malformed_wallet_is_named_and_can_be_mended() -> Result<()> {
    on_stack("bad-wallet", |stack, namespace| async move {
        let offer = Offer {
            wallet_text: Some("not a key".into()),
            ..Offer::of(&stack)
        };
        let farm = Farm::start(&stack, &namespace, &offer).await?;
        let reason = |provider: &CocoonProvider| {
            let status = provider.status.as_ref()?;
            let condition = cocoon_api::conditions::find(&status.conditions, "WalletReady")?;
            Some((condition.reason.clone(), condition.message.clone()))
        };
        let providers = farm.api::<CocoonProvider>();
        let malformed = |provider: &CocoonProvider| {
            reason(provider).is_some_and(|(reason, _)| reason == "SecretMalformed")
        };
        let provider = wait::object(&providers, PROVIDER, "the wallet is named", malformed).await?;
        let (_, message) = reason(&provider).context("the condition that was waited for")?;
        ensure!(
            message.contains("farm-wallet") && !message.contains("not a key"),
            "{message}"
        );

        stack
            .kubectl(&["--namespace", &namespace, "delete", "secret", "farm-wallet"])
            .await?;
        let missing =
            |provider: &CocoonProvider| reason(provider).is_some_and(|(reason, _)| reason == "SecretMissing");
        wait::object(&providers, PROVIDER, "the missing Secret is named", missing).await?;
        Ok(())
    })
}

#[test]
fn an_endpoint_that_is_down_is_named_and_work_resumes_by_itself() -> Result<()> {
    on_stack("endpoint-down", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        let providers = farm.api::<CocoonProvider>();
        let wallet = |provider: &CocoonProvider, reason: &str| {
            provider.status.as_ref().is_some_and(|status| {
                cocoon_api::conditions::find(&status.conditions, "WalletReady")
                    .is_some_and(|found| found.reason == reason)
            })
        };
        wait::object(&providers, PROVIDER, "the wallet is funded", |provider| {
            wallet(provider, "WalletFunded")
        })
        .await?;
        stack.refuse_requests(u32::MAX).await?;
        let down = wait::object(&providers, PROVIDER, "the endpoint is named", |provider| {
            wallet(provider, "EndpointUnavailable")
        })
        .await;
        stack.refuse_requests(0).await?;
        down?;
        farm.open_channel("1", "0.5").await?;
        farm.submit("later", &["Once upon a time"], 20_000_000).await?;
        farm.wait_for("later", "Settled").await?;
        Ok(())
    })
}
