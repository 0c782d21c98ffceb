//! `kubectl cocoon` as a payer and a farm use it, from an opened channel to the refund of a closed one.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon,
    crd::{InferenceJob, channel::ChannelState as Shown},
    names::RESULTS_KEY,
};
use e2e::{
    farm::{CHANNEL, Farm, MODEL, Offer, PROVIDER, ton},
    stack::Said,
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde_json::{Value, json};

use super::{on_stack, receipts::assert_paid_once};

/// The shortest challenge window that a provider accepts, as the command line takes it.
const CHALLENGE: (&str, u32) = ("300s", 300);
/// The most that the payer's messages of one test cost in fees.
const FEES: u64 = 20_000_000;

/// A payer in front of a terminal that is none.
struct Payer<'a> {
    farm: &'a Farm<'a>,
}

impl Payer<'_> {
    async fn says(&self, line: &str) -> Result<Said> {
        self.runs(&line.split(' ').collect::<Vec<_>>()).await
    }

    async fn runs(&self, words: &[&str]) -> Result<Said> {
        let arguments = [words, &["--namespace", &self.farm.namespace]].concat();
        let said = self
            .farm
            .stack
            .kubectl_cocoon(&arguments, &self.farm.payer_key)
            .await?;
        println!("$ kubectl cocoon {}\n{}{}", words.join(" "), said.err, said.out);
        Ok(said)
    }

    async fn succeeds(&self, line: &str) -> Result<String> {
        self.says(line).await?.success()
    }

    /// Fails, and says `words`.
    async fn is_refused(&self, line: &str, words: &str) -> Result<()> {
        let said = self.says(line).await?;
        ensure!(!said.succeeded, "`{line}` succeeded");
        ensure!(said.err.contains(words), "{:?} does not say {words:?}", said.err);
        Ok(())
    }

    async fn json(&self, line: &str) -> Result<Value> {
        let text = self.succeeds(line).await?;
        serde_json::from_str(&text).with_context(|| format!("`{line}` printed no JSON: {text}"))
    }
}

/// A row of a table by its first cell.
fn row<'a>(table: &'a str, first: &str) -> Result<Vec<&'a str>> {
    let mut rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|row| row.first() == Some(&first))
        .with_context(|| format!("no row {first} in {table}"))
}

#[test]
fn a_job_is_run_its_answers_are_verified_and_the_farm_sees_its_day() -> Result<()> {
    on_stack("cli-job", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        let payer = Payer { farm: &farm };
        payer
            .succeeds(&format!(
                "channel open {CHANNEL} --provider {PROVIDER} --deposit 1 --cap 0.5"
            ))
            .await?;
        let run = [
            "run",
            "--model",
            MODEL,
            "--channel",
            CHANNEL,
            "--max",
            "0.1",
            "--max-tokens",
            "8",
            "--settled",
        ];
        let run = payer
            .runs(
                &[
                    &run[..],
                    &["--name", "asked", "Once upon a time", "Kubernetes is"],
                ]
                .concat(),
            )
            .await?;
        let answers = run.clone().success()?;
        ensure!(
            !run.err.contains(['\r', '\u{1b}']) && run.err.lines().count() >= 3,
            "lines without a terminal's tricks: {:?}",
            run.err
        );
        for words in [
            "job asked is submitted",
            "2 of 2 requests answered",
            "paid by transaction",
            "2 of 2 receipts verified",
        ] {
            ensure!(run.err.contains(words), "{:?} does not say {words:?}", run.err);
        }
        let job = farm.api::<InferenceJob>().get("asked").await?;
        assert_paid_once(&farm, &job, 2).await?;

        ensure!(
            payer.succeeds("results asked").await? == answers,
            "the same answers again"
        );
        assert_changes_are_seen(&payer).await?;

        let status = job.status.context("the job has a status")?;
        let (tokens, cost) = (status.usage.total()?.get(), status.cost.spent_nano);
        let day = payer.json("status -o json").await?;
        let provider = &day["providers"][0];
        ensure!(
            provider["jobs"]["finishedToday"] == 1
                && provider["jobs"]["tokensToday"] == tokens
                && provider["earnedNano"] == json!(cost)
                && provider["pendingNano"] == 0,
            "{tokens} tokens for {cost} nanoTON: {provider}"
        );
        let table = payer.succeeds("status").await?;
        let cells = row(&table, PROVIDER)?;
        let (tokens, cost) = (tokens.to_string(), cost.to_ton_string());
        ensure!(
            cells.contains(&tokens.as_str()) && cells.contains(&cost.as_str()),
            "{table}"
        );
        payer.is_refused("results nobody", "no InferenceJob nobody").await
    })
}

/// A result that was changed after it was delivered is named and not believed.
async fn assert_changes_are_seen(payer: &Payer<'_>) -> Result<()> {
    let secret = payer.farm.api::<Secret>().get("asked").await?;
    let ByteString(bytes) = secret
        .data
        .and_then(|mut data| data.remove(RESULTS_KEY))
        .context("the job has results")?;
    let before = String::from_utf8(bytes)?;
    let store = |text: &str| {
        let patch = json!({"stringData": {RESULTS_KEY: text}});
        async move { payer.farm.patch::<Secret>("asked", &patch).await }
    };
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    let changed = lines[1].replacen("\"text\":\"", "\"text\":\"Trust me: ", 1);
    ensure!(changed != lines[1], "the answer has a text: {changed}");
    lines[1] = changed;
    store(&lines.join("\n")).await?;
    payer.is_refused("results asked", "do not rely on them").await?;
    let said = payer.says("results asked").await?;
    ensure!(
        said.err.contains("request 1:") && said.err.contains("1 of 2 receipts verified"),
        "{}",
        said.err
    );
    store(lines[0].as_str()).await?;
    payer.is_refused("results asked", "do not rely on them").await?;
    store(&before).await?;
    payer.succeeds("results asked").await?;
    Ok(())
}

#[test]
fn a_channel_goes_from_open_to_closed_and_the_rest_of_its_deposit_back_to_the_payer() -> Result<()> {
    on_stack("cli-channel", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        let payer = Payer { farm: &farm };
        let before = stack.balance(&farm.payer).await?;
        let (window, seconds) = CHALLENGE;
        let open = format!(
            "channel open {CHANNEL} --provider {PROVIDER} --deposit 1 --cap 0.5 --challenge {window}"
        );
        payer.succeeds(&open).await?;
        let opened = farm.contract().await?.available;
        payer.succeeds(&open).await?;
        ensure!(
            farm.contract().await?.available == opened,
            "opening twice pays once"
        );
        let run = format!("run --model {MODEL} --channel {CHANNEL} --max 0.1 --max-tokens 8 --settled Hello");
        payer.succeeds(&run).await?;
        let paid = farm.contract().await?.redeemed;
        ensure!(paid > NanoTon::ZERO, "the job was paid");
        assert_raised(&payer).await?;

        let close = format!("channel close {CHANNEL}");
        let next = "run the same command in";
        ensure!(
            payer.succeeds(&close).await?.contains(next),
            "it says what comes next"
        );
        farm.wait_for_channel("the operator sees the closing", |status| {
            status.state == Some(Shown::Closing)
        })
        .await?;
        payer.is_refused(&authorize("0.8"), "closing").await?;
        ensure!(
            payer.succeeds(&close).await?.contains(next),
            "the window still runs"
        );
        let left = farm.contract().await?.available;
        stack.advance_time(seconds).await?;
        let closed = payer.succeeds(&close).await?;
        ensure!(closed.contains(&left.to_ton_string()), "{closed}");
        farm.wait_for_channel("the operator sees the end", |status| {
            status.state == Some(Shown::Closed)
        })
        .await?;
        payer.succeeds(&format!("channel show {CHANNEL}")).await?;
        let again = payer.succeeds(&close).await?;
        ensure!(again.contains("is closed"), "closing again does nothing");

        let contract = farm.contract().await?;
        ensure!(
            contract.available == NanoTon::ZERO && contract.redeemed == paid,
            "{contract:?}"
        );
        // The reserve for rent stays in the contract.
        let gone = before.checked_sub(stack.balance(&farm.payer).await?)?.nano();
        let spent = paid.checked_add(ton("0.02"))?.nano();
        ensure!(
            (spent..spent + FEES).contains(&gone),
            "the payer is {gone} nanoTON poorer, of which {paid} were paid for tokens"
        );
        Ok(())
    })
}

fn authorize(cap: &str) -> String {
    format!("channel authorize {CHANNEL} --cap {cap}")
}

/// More deposit and a higher cap: on chain, in the cluster and as `channel show` tells it.
async fn assert_raised(payer: &Payer<'_>) -> Result<()> {
    let farm = payer.farm;
    let before = farm.contract().await?;
    payer
        .succeeds(&format!("channel top-up {CHANNEL} --deposit 0.25"))
        .await?;
    let after = farm.contract().await?;
    let least = before.available.checked_add(ton("0.25"))?;
    ensure!(
        (least.nano()..least.nano() + FEES).contains(&after.available.nano()),
        "{} became {}",
        before.available,
        after.available
    );
    payer
        .is_refused(&authorize("0.4"), "cannot be taken back")
        .await?;
    payer.succeeds(&authorize("0.7")).await?;
    farm.wait_for_channel("the operator knows the new voucher and deposit", |status| {
        status.cap_nano == ton("0.7") && status.deposit_nano == after.available
    })
    .await?;
    let shown = payer.json(&format!("channel show {CHANNEL} -o json")).await?;
    ensure!(
        shown["contract"]["depositNano"] == json!(after.available)
            && shown["contract"]["redeemedNano"] == json!(after.redeemed)
            && shown["status"]["redeemedNano"] == json!(after.redeemed)
            && shown["spec"]["voucher"]["capNano"] == json!(ton("0.7")),
        "{shown}"
    );
    let table = payer.succeeds("channel show").await?;
    let deposit = after.available.to_ton_string();
    ensure!(row(&table, CHANNEL)?.contains(&deposit.as_str()), "{table}");
    Ok(())
}
