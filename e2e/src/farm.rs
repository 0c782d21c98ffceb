//! A farm and a payer in one namespace: wallets with coins, a provider, a channel, and jobs.

use std::time::Duration;

use anyhow::{Context as _, Result};
use cocoon_api::{
    NanoTon,
    conditions::{self, Ready, Reason as _},
    crd::{
        CocoonProvider, InferenceJob, InferenceJobStatus, PaymentChannel, PaymentChannelStatus,
        provider::Backend,
    },
    names,
};
use cocoon_ton::{Address, ChannelOnChain, ChannelState, SecretKey, Signer as _, Wallet};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Kind, stack::Stack, wait};

/// Name of the provider of a test.
pub const PROVIDER: &str = "farm";
/// Name of the channel of a test.
pub const CHANNEL: &str = "payer";
/// Name of the model of a test.
pub const MODEL: &str = "smollm2-135m-instruct";

/// What a farm asks for, in nanoTON per million tokens: high, so that a handful of answers is worth the fee of the
/// transaction that pays them.
pub fn prices() -> Value {
    json!({
        "prompt": 20_000_000_000_u64, "cachedPrompt": 2_000_000_000_u64,
        "completion": 300_000_000_000_u64, "reasoning": 300_000_000_000_u64, "minimumNano": 1_000,
    })
}

/// A farm and a payer in one namespace.
pub struct Farm<'a> {
    /// The running stack.
    pub stack: &'a Stack,
    /// Where they are.
    pub namespace: String,
    /// The farm's wallet, which claims.
    pub wallet: Address,
    /// Where a farm is paid whose wallet is apart; nobody in the cluster has its key.
    pub payout: Address,
    /// The payer's key, as text.
    pub payer_key: String,
    /// The payer's wallet.
    pub payer: Address,
}

/// How a farm offers its model.
pub struct Offer {
    /// What computes.
    pub backend: Backend,
    /// GPUs of one agent.
    pub gpus_per_replica: u32,
    /// SHA-256 that the model must have.
    pub sha256: String,
    /// Agents kept without work.
    pub min_replicas: u32,
    /// Agents at most.
    pub max_replicas: u32,
    /// Settle once this much is metered.
    pub threshold: NanoTon,
    /// Takes jobs that nobody pays for.
    pub allow_free: bool,
    /// Text of the wallet's Secret; the farm's key where absent.
    pub wallet_text: Option<String>,
    /// Whether the farm is paid at an address of its own, for which its wallet claims.
    pub paid_apart: bool,
}

impl Offer {
    /// One GPU, settles at once.
    ///
    /// # Panics
    /// Never: one nanoTON is an amount.
    pub fn of(stack: &Stack) -> Self {
        Self {
            backend: Backend::CPU,
            gpus_per_replica: 1,
            sha256: stack.description.model_sha256.clone(),
            min_replicas: 0,
            max_replicas: 1,
            threshold: NanoTon::from_nano(1).expect("one nanoTON"),
            allow_free: false,
            wallet_text: None,
            paid_apart: false,
        }
    }

    /// The same, with one agent kept without work.
    pub fn kept(stack: &Stack) -> Self {
        Self {
            min_replicas: 1,
            ..Self::of(stack)
        }
    }
}

/// A key that only this namespace and purpose has.
fn key(namespace: &str, purpose: &str) -> Result<(String, SecretKey)> {
    let text = hex::encode(Sha256::digest(format!("e2e {namespace} {purpose}")));
    let key = SecretKey::parse(&text).context("a digest is a key")?;
    Ok((text, key))
}

impl<'a> Farm<'a> {
    /// A payer alone, in its own namespace, with coins: the provider is of another one.
    pub async fn payer(stack: &'a Stack, namespace: &str) -> Result<Farm<'a>> {
        let farm = Self::of(stack, namespace)?;
        stack.give(&farm.payer, ton("20")).await?;
        Ok(farm)
    }

    fn of(stack: &'a Stack, namespace: &str) -> Result<Farm<'a>> {
        let (_, wallet_key) = key(namespace, "farm")?;
        let (_, payout_key) = key(namespace, "payout")?;
        let (payer_key, payer_secret) = key(namespace, "payer")?;
        let address = |key: &SecretKey| Wallet::new(key.public_key(), &stack.network()).address();
        let (wallet, payout, payer) = (address(&wallet_key), address(&payout_key), address(&payer_secret));
        Ok(Farm {
            stack,
            namespace: namespace.to_owned(),
            wallet,
            payout,
            payer_key,
            payer,
        })
    }

    /// Funds both wallets and applies the provider.
    pub async fn start(stack: &'a Stack, namespace: &str, offer: &Offer) -> Result<Farm<'a>> {
        let farm = Self::payer(stack, namespace).await?;
        let (wallet_text, _) = key(namespace, "farm")?;
        stack.give(&farm.wallet, ton("1")).await?;
        let text = offer.wallet_text.clone().unwrap_or(wallet_text);
        let secret: Secret = serde_json::from_value(
            json!({"metadata": {"name": "farm-wallet"}, "stringData": {"key": text}}),
        )?;
        farm.api::<Secret>()
            .create(&PostParams::default(), &secret)
            .await?;
        farm.create::<CocoonProvider>(&farm.provider(offer)).await?;
        Ok(farm)
    }

    /// The provider's manifest.
    pub fn provider(&self, offer: &Offer) -> Value {
        let friendly = |address: &Address| address.friendly(&self.stack.network(), false);
        let paid_at = if offer.paid_apart {
            &self.payout
        } else {
            &self.wallet
        };
        let mut provider = json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"name": PROVIDER},
            "spec": {
                "backend": offer.backend,
                "nodeSelector": if offer.gpus_per_replica > 0 { json!({"nvidia.com/gpu.present": "true"}) } else { json!({}) },
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "models": [{
                    "name": MODEL,
                    "source": {"hostPath": self.stack.description.model_path, "sha256": offer.sha256},
                    "contextLength": 1024,
                    "gpusPerReplica": offer.gpus_per_replica,
                    "minReplicas": offer.min_replicas,
                    "maxReplicas": offer.max_replicas,
                    "price": prices(),
                    "allowFree": offer.allow_free,
                }],
                "payout": {
                    "network": self.stack.description.network,
                    "address": friendly(paid_at),
                    "walletSecretRef": {"name": "farm-wallet"},
                    // The least that the operator takes, so that tests need not move the chain's time far.
                    "minChallenge": "5m",
                    "minVoucherValidity": "5m",
                    "settle": {"thresholdNano": offer.threshold, "maxAge": "1h", "maxFeeRatio": "1"},
                },
            },
        });
        if offer.paid_apart {
            provider["spec"]["payout"]["claimer"] = json!(friendly(&self.wallet));
        }
        provider
    }

    /// Waits until the provider is ready, its agents included.
    pub async fn ready(&self) -> Result<()> {
        self.ready_within(wait::LIMIT).await
    }

    /// Like [`Farm::ready`], for at most `limit`.
    pub async fn ready_within(&self, limit: Duration) -> Result<()> {
        let is_ready = |provider: &CocoonProvider| {
            provider
                .status
                .as_ref()
                .is_some_and(|status| conditions::is_true(&status.conditions, Ready::TYPE))
        };
        wait::object_within(
            limit,
            &self.api::<CocoonProvider>(),
            PROVIDER,
            "the provider is ready",
            is_ready,
        )
        .await?;
        Ok(())
    }

    /// Opens the payer's channel and waits until it can be used.
    pub async fn open_channel(&self, deposit: &str, cap: &str) -> Result<()> {
        self.open_channel_toward(PROVIDER, deposit, cap).await?;
        self.channel_ready().await
    }

    /// Opens the payer's channel toward a provider, which may be of another namespace, and waits for nothing.
    pub async fn open_channel_toward(&self, provider: &str, deposit: &str, cap: &str) -> Result<()> {
        let arguments = [
            "channel",
            "open",
            CHANNEL,
            "--namespace",
            &self.namespace,
            "--provider",
            provider,
            "--deposit",
            deposit,
            "--cap",
            cap,
        ];
        self.stack.plugin(&arguments, &self.payer_key).await?;
        Ok(())
    }

    /// Waits until the payer's channel can be used.
    pub async fn channel_ready(&self) -> Result<()> {
        let is_ready = |channel: &PaymentChannel| {
            channel
                .status
                .as_ref()
                .is_some_and(|status| conditions::is_true(&status.conditions, Ready::TYPE))
        };
        wait::object(
            &self.api::<PaymentChannel>(),
            CHANNEL,
            "the channel is ready",
            is_ready,
        )
        .await?;
        Ok(())
    }

    /// Submits a job of raw completions, greedy, 32 tokens each.
    pub async fn submit<P>(&self, name: &str, prompts: &[P], max_nano: u64) -> Result<InferenceJob>
    where
        P: AsRef<str>,
    {
        let inline: Vec<Value> = prompts
            .iter()
            .map(|prompt| json!({"prompt": prompt.as_ref()}))
            .collect();
        self.create(&json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": name},
            "spec": {
                "model": MODEL,
                "endpoint": "/v1/completions",
                "input": {"inline": inline},
                "parameters": {"maxTokens": 32, "temperature": 0},
                "billing": {"mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": max_nano},
            },
        }))
        .await
    }

    /// Waits until the job's condition is true.
    pub async fn wait_for(&self, job: &str, condition: &str) -> Result<InferenceJob> {
        self.wait_for_within(wait::LIMIT, job, condition).await
    }

    /// Like [`Farm::wait_for`], for at most `limit`.
    pub async fn wait_for_within(&self, limit: Duration, job: &str, condition: &str) -> Result<InferenceJob> {
        let holds = |job: &InferenceJob| {
            job.status
                .as_ref()
                .is_some_and(|status| conditions::is_true(&status.conditions, condition))
        };
        wait::object_within(
            limit,
            &self.api::<InferenceJob>(),
            job,
            &format!("job {job} is {condition}"),
            holds,
        )
        .await
    }

    /// Waits until the job's condition is false for this reason; answers its message.
    pub async fn wait_for_reason(&self, job: &str, condition: &str, reason: &str) -> Result<String> {
        let found = |job: &InferenceJob| {
            let conditions = &job.status.as_ref()?.conditions;
            let condition = conditions::find(conditions, condition)?;
            (condition.status == "False" && condition.reason == reason).then(|| condition.message.clone())
        };
        let what = format!("job {job} has {condition}=False, reason={reason}");
        let job = wait::object(&self.api::<InferenceJob>(), job, &what, |job| {
            found(job).is_some()
        })
        .await?;
        found(&job).context("the condition that was waited for")
    }

    /// Waits until the channel's object satisfies `holds`.
    pub async fn wait_for_channel(
        &self,
        what: &str,
        holds: impl Fn(&PaymentChannelStatus) -> bool,
    ) -> Result<PaymentChannel> {
        let holds = |channel: &PaymentChannel| channel.status.as_ref().is_some_and(&holds);
        wait::object(&self.api::<PaymentChannel>(), CHANNEL, what, holds).await
    }

    /// Waits until the job has delivered some of its requests and not all: it is in the middle.
    pub async fn wait_for_the_middle_of(&self, job: &str) -> Result<InferenceJob> {
        let in_the_middle = |job: &InferenceJob| {
            job.status.as_ref().is_some_and(|status| {
                status.requests.succeeded > 0 && status.requests.succeeded < status.requests.total
            })
        };
        let what = "some requests are delivered and some are not";
        wait::object(&self.api::<InferenceJob>(), job, what, in_the_middle).await
    }

    /// The pods of the farm's agents.
    pub async fn agents(&self) -> Result<Vec<Pod>> {
        let selector = format!("{}={}", names::COMPONENT_LABEL, names::AGENT_COMPONENT);
        let params = ListParams::default().labels(&selector);
        Ok(self.api::<Pod>().list(&params).await?.items)
    }

    /// Changes parts of an object: a JSON merge patch, as `kubectl patch --type merge` sends it.
    pub async fn patch<K: Kind>(&self, name: &str, patch: &Value) -> Result<K> {
        let params = PatchParams::default();
        Ok(self.api::<K>().patch(name, &params, &Patch::Merge(patch)).await?)
    }

    /// A job's status.
    pub async fn job_status(&self, job: &str) -> Result<InferenceJobStatus> {
        Ok(self
            .api::<InferenceJob>()
            .get(job)
            .await?
            .status
            .unwrap_or_default())
    }

    /// Whether anything was reserved, started or spent for a job.
    pub async fn has_begun(&self, job: &str) -> Result<bool> {
        let status = self.job_status(job).await?;
        Ok(!status.assignments.is_empty()
            || status.cost.reserved_nano > NanoTon::ZERO
            || status.cost.spent_nano > NanoTon::ZERO)
    }

    /// The channel's status.
    pub async fn channel_status(&self) -> Result<PaymentChannelStatus> {
        let channel = self.api::<PaymentChannel>().get(CHANNEL).await?;
        Ok(channel.status.unwrap_or_default())
    }

    /// Raises the channel's cap.
    pub async fn authorize(&self, cap: &str) -> Result<String> {
        let arguments = [
            "channel",
            "authorize",
            CHANNEL,
            "--namespace",
            &self.namespace,
            "--cap",
            cap,
        ];
        self.stack.plugin(&arguments, &self.payer_key).await
    }

    /// Puts more into the channel.
    pub async fn top_up(&self, deposit: &str) -> Result<String> {
        let arguments = [
            "channel",
            "top-up",
            CHANNEL,
            "--namespace",
            &self.namespace,
            "--deposit",
            deposit,
        ];
        self.stack.plugin(&arguments, &self.payer_key).await
    }

    /// The channel's contract, as its getter shows it.
    pub async fn contract(&self) -> Result<ChannelState> {
        let channel = self.api::<PaymentChannel>().get(CHANNEL).await?;
        let address = Address::parse_for(&self.stack.network(), &channel.spec.contract_address)?;
        match self.stack.chain.state(&address).await? {
            ChannelOnChain::Channel { state, .. } => Ok(state),
            other => anyhow::bail!("the channel's contract is {other:?}"),
        }
    }

    /// Objects of a kind in the namespace.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.stack.client.clone(), &self.namespace)
    }

    /// Creates an object from its manifest.
    pub async fn create<K: Kind + serde::Serialize>(&self, manifest: &Value) -> Result<K> {
        let object: K =
            serde_json::from_value(manifest.clone()).context("the manifest does not fit its kind")?;
        Ok(self.api::<K>().create(&PostParams::default(), &object).await?)
    }
}

/// So many prompts, no two the same.
pub fn prompts(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{number}. Once upon a time"))
        .collect()
}

/// Decimal TON.
///
/// # Panics
/// Where the text is no amount: it is written in a test.
pub fn ton(text: &str) -> NanoTon {
    NanoTon::parse_ton(text).expect("decimal TON")
}
