//! Vouchers as anyone can apply them: what the payer did not sign for this channel and now is named and worth nothing.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon, conditions,
    crd::{InferenceJob, PaymentChannel},
};
use cocoon_ton::{Address, Binding, ChannelOnChain, Network, SecretKey, Voucher, voucher::NO_EXPIRY};
use e2e::{
    farm::{CHANNEL, Farm, Offer, ton},
    wait,
};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    on_stack,
    receipts::{Delivered, assert_all_paid, assert_redeemed},
};

/// Somebody whom the channel does not know.
const STRANGER: &str = "stranger";
/// Another object of the channel's contract.
const SECOND: &str = "second";
/// What each voucher's cap exceeds the one before by: the API server takes no lower one.
const STEP: u64 = 1_000_000;

/// A channel's object, to be applied with one voucher or another.
struct Applied<'a> {
    farm: &'a Farm<'a>,
    spec: Value,
    contract: Address,
    payer: SecretKey,
}

impl<'a> Applied<'a> {
    /// The channel that the command line opened.
    async fn of(farm: &'a Farm<'a>) -> Result<Self> {
        let channel = farm.api::<PaymentChannel>().get(CHANNEL).await?;
        Ok(Self {
            contract: Address::parse_for(&farm.stack.network(), &channel.spec.contract_address)?,
            payer: SecretKey::parse(&farm.payer_key).context("the payer's key")?,
            spec: serde_json::to_value(&channel.spec)?,
            farm,
        })
    }

    /// What the payer would sign: for this channel, up to `cap`, without an end, as the command line signs, since the
    /// API server takes none that ends earlier.
    fn voucher(&self, cap: NanoTon) -> Voucher {
        Voucher {
            global_id: self.farm.stack.network().global_id(),
            channel: self.contract,
            cap,
            valid_until: NO_EXPIRY,
            epoch: 0,
        }
    }

    /// `kubectl apply` with the voucher, signed by the key.
    async fn apply(&self, voucher: Voucher, key: &SecretKey) -> Result<()> {
        let signed = voucher.sign(key)?;
        let mut spec = self.spec.clone();
        spec["voucher"] = json!({
            "capNano": voucher.cap, "validUntil": voucher.valid_until, "epoch": voucher.epoch,
            "signature": hex::encode(signed.signature.0),
        });
        let manifest = json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel",
            "metadata": {"name": CHANNEL}, "spec": spec,
        });
        let arguments = ["--namespace", &self.farm.namespace, "apply", "--filename", "-"];
        self.farm
            .stack
            .kubectl_with(&arguments, &manifest.to_string())
            .await?;
        Ok(())
    }

    /// Waits until the operator has judged the voucher of this cap so.
    async fn judged(&self, cap: NanoTon, reason: &str) -> Result<()> {
        let channels = self.farm.api::<PaymentChannel>();
        let what = format!("the voucher of {cap} nanoTON is {reason}");
        let is_judged = |channel: &PaymentChannel| {
            let seen = channel.status.as_ref().is_some_and(|status| {
                status.observed_generation == channel.metadata.generation
                    && conditions::find(&status.conditions, "VoucherValid")
                        .is_some_and(|found| found.reason == reason)
            });
            let voucher = channel.spec.voucher.as_ref();
            seen && voucher.is_some_and(|voucher| voucher.cap_nano == cap)
        };
        wait::object(&channels, CHANNEL, &what, is_judged).await?;
        Ok(())
    }

    async fn delete(&self) -> Result<()> {
        let channels = self.farm.api::<PaymentChannel>();
        channels.delete(CHANNEL, &DeleteParams::default()).await?;
        wait::gone(&channels, CHANNEL, wait::LIMIT).await
    }
}

/// Nothing was reserved, started or paid for the job, and it says that the voucher is why.
async fn assert_worthless(farm: &Farm<'_>, job: &str) -> Result<()> {
    farm.wait_for_reason(job, "FundsReserved", "VoucherInvalid")
        .await?;
    assert_unfunded(farm, job).await
}

/// Nothing was reserved, started or paid for the job, and it says that a higher voucher than the channel has would
/// help.
async fn assert_asked_for_the_newest(farm: &Farm<'_>, job: &str) -> Result<()> {
    let message = farm
        .wait_for_reason(job, "FundsReserved", "WaitingForFunds")
        .await?;
    ensure!(
        message.contains("if the payer signed a higher voucher before"),
        "{message}"
    );
    assert_unfunded(farm, job).await
}

/// Nothing was reserved, started or paid for the job.
async fn assert_unfunded(farm: &Farm<'_>, job: &str) -> Result<()> {
    ensure!(!farm.has_begun(job).await?, "{job} has begun");
    let channel = farm.channel_status().await?;
    ensure!(
        channel.reservations.is_empty() && channel.available == "0",
        "{channel:?}"
    );
    Ok(())
}

#[test]
fn a_voucher_that_the_payer_did_not_sign_for_this_channel_and_now_is_worth_nothing() -> Result<()> {
    on_stack("vouchers", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.1").await?;
        let channel = Applied::of(&farm).await?;
        let stranger =
            SecretKey::parse(&hex::encode(Sha256::digest(STRANGER))).context("a digest is a key")?;
        farm.submit("waits", &["Once upon a time"], 300_000_000).await?;
        farm.wait_for_reason("waits", "FundsReserved", "WaitingForFunds")
            .await?;

        let mut cap = ton("0.5");
        let genuine = channel.voucher(cap);
        let elsewhere = Address {
            account: Sha256::digest(STRANGER).into(),
            ..channel.contract
        };
        let cases = [
            (genuine, &stranger, "BadSignature"),
            (
                Voucher {
                    global_id: Network::MAINNET.global_id(),
                    ..genuine
                },
                &channel.payer,
                "BadSignature",
            ),
            (
                Voucher {
                    channel: elsewhere,
                    ..genuine
                },
                &channel.payer,
                "BadSignature",
            ),
            // The last one: the API server takes no lower epoch afterwards.
            (Voucher { epoch: 7, ..genuine }, &channel.payer, "WrongEpoch"),
        ];
        for (voucher, key, reason) in cases {
            cap = NanoTon::from_nano(cap.nano() + STEP)?;
            channel.apply(Voucher { cap, ..voucher }, key).await?;
            channel.judged(cap, reason).await?;
            assert_worthless(&farm, "waits").await?;
        }
        let pods = farm.api::<Pod>().list(&ListParams::default()).await?.items;
        ensure!(pods.is_empty(), "a job without funds starts nothing");
        ensure!(
            farm.contract().await?.redeemed == NanoTon::ZERO,
            "nothing was claimed"
        );

        // One that has ended is worth nothing from the start: the API server takes none that ends before an earlier
        // one.
        channel.delete().await?;
        let ended = Voucher {
            cap: NanoTon::from_nano(cap.nano() + STEP)?,
            valid_until: u32::try_from(Timestamp::now().as_second())? - 1,
            ..genuine
        };
        channel.apply(ended, &channel.payer).await?;
        channel.judged(ended.cap, "Expired").await?;
        assert_worthless(&farm, "waits").await?;

        // The same contract with the payer's own voucher pays.
        channel.delete().await?;
        channel.apply(genuine, &channel.payer).await?;
        let waits = farm.wait_for("waits", "Settled").await?;
        assert_all_paid(&farm, &[(&waits, 1)]).await?;

        // An old voucher, presented again, is below what was paid since. To an object without a history, a contract
        // that paid more than its payer ever allowed is a lie of the endpoint's: it asks for the newest voucher and
        // carries on with that.
        let paid = waits.status.unwrap_or_default().cost.spent_nano;
        channel.delete().await?;
        let replayed = Voucher {
            cap: NanoTon::from_nano(paid.nano() - 1)?,
            ..genuine
        };
        channel.apply(replayed, &channel.payer).await?;
        channel.judged(replayed.cap, "Lowered").await?;
        farm.submit("later", &["Once upon a time"], 300_000_000).await?;
        assert_asked_for_the_newest(&farm, "later").await?;
        ensure!(farm.contract().await?.redeemed == paid, "nothing was claimed");
        channel.apply(genuine, &channel.payer).await?;
        let later = farm.wait_for("later", "Settled").await?;
        let both = paid.checked_add(later.status.unwrap_or_default().cost.spent_nano)?;
        assert_redeemed(&farm, both).await
    })
}

/// The other object, once it has this condition with this status and reason.
async fn second_with(
    farm: &Farm<'_>,
    condition: &str,
    status: &str,
    reason: &str,
) -> Result<(PaymentChannel, String)> {
    let found = |channel: &PaymentChannel| {
        let conditions = &channel.status.as_ref()?.conditions;
        conditions::find(conditions, condition)
            .filter(|found| found.status == status && found.reason == reason)
            .map(|found| found.message.clone())
    };
    let what = format!("the second object has {condition}={status}, reason={reason}");
    let channels = farm.api::<PaymentChannel>();
    let channel = wait::object(&channels, SECOND, &what, |channel| found(channel).is_some()).await?;
    let message = found(&channel).context("the condition that was waited for")?;
    Ok((channel, message))
}

#[test]
fn one_contract_has_one_ledger_whatever_objects_name_it() -> Result<()> {
    on_stack("one-ledger", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.9").await?;
        let channel = Applied::of(&farm).await?;
        let mut spec = channel.spec.clone();
        let (raw, friendly) = (
            channel.contract.to_string(),
            channel.contract.friendly(&stack.network(), false),
        );
        let other_spelling = if spec["contractAddress"] == json!(raw) {
            friendly
        } else {
            raw
        };
        spec["contractAddress"] = json!(other_spelling);
        let binding = Binding {
            global_id: stack.network().global_id(),
            channel: channel.contract,
            namespace: &namespace,
            name: SECOND,
        };
        spec["binding"] = json!(binding.sign(&channel.payer)?.to_string());
        farm.create::<PaymentChannel>(&json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel",
            "metadata": {"name": SECOND}, "spec": spec,
        }))
        .await?;
        let (_, message) = second_with(&farm, "Funded", "False", "ContractInUse").await?;
        ensure!(message.contains(&format!("{namespace}/{CHANNEL}")), "{message}");

        // A job on it has no funds and starts nothing; the holder serves as before.
        let mut waits = serde_json::to_value(farm.submit("pays", &["Once upon a time"], 300_000_000).await?)?;
        waits["metadata"] = json!({"name": "waits"});
        waits["spec"]["billing"]["channelRef"]["name"] = json!(SECOND);
        farm.create::<InferenceJob>(&waits).await?;
        let message = farm
            .wait_for_reason("waits", "FundsReserved", "WaitingForFunds")
            .await?;
        ensure!(message.contains(&format!("{namespace}/{CHANNEL}")), "{message}");
        let pays = farm.wait_for("pays", "Settled").await?;
        assert_all_paid(&farm, &[(&pays, 1)]).await?;
        ensure!(!farm.has_begun("waits").await?, "a job without funds has begun");
        let (second, _) = second_with(&farm, "Ready", "False", "NotReady").await?;
        let ledger = second.status.unwrap_or_default();
        ensure!(
            ledger.reservations.is_empty() && ledger.accrued_nano == ledger.redeemed_nano,
            "{ledger:?}"
        );

        // The holder is gone: the next one carries on from what was redeemed, and both jobs are paid.
        channel.delete().await?;
        second_with(&farm, "Ready", "True", "Ready").await?;
        let waits = farm.wait_for("waits", "Settled").await?;
        let mut billed = pays.status.unwrap_or_default().cost.spent_nano;
        let own = Delivered::of(&farm, "waits").await?.check()?;
        ensure!(
            own > NanoTon::ZERO && waits.status.unwrap_or_default().cost.spent_nano == own,
            "it cost what its receipts say, {own}"
        );
        billed = billed.checked_add(own)?;
        match stack.chain.state(&channel.contract).await? {
            ChannelOnChain::Channel { state, .. } => ensure!(
                state.redeemed == billed,
                "the contract redeemed {}, both jobs cost {billed}",
                state.redeemed
            ),
            other => anyhow::bail!("the channel's contract is {other:?}"),
        }
        Ok(())
    })
}
