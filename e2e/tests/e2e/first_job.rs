//! From `kubectl apply` to paid in TON.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon, TokenCount, Usage,
    crd::{InferenceJob, PaymentChannel},
    units::Prices,
};
use cocoon_ton::{Address, client::MAX_TRANSACTIONS_PER_PAGE, transaction::Transaction};
use e2e::{
    farm::{CHANNEL, Farm, MODEL, Offer, prices},
    golden::{Completion, Golden},
};
use gpu_agent::{model::tokenizer::Tokenizer, weights::file::ModelFile};
use serde_json::{Value, json};

use super::{
    on_stack,
    receipts::{Delivered, assert_paid_once},
};

#[test]
fn six_prompts_are_answered_as_the_reference_says_and_paid_to_the_nanoton() -> Result<()> {
    on_stack("first-job", |stack, namespace| async move {
        let golden = Golden::smollm2()?;
        let cases: Vec<_> = golden.prompts().collect();
        ensure!(cases.len() == 6, "the reference has six prompts as text");
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        let before = Money::of(&farm).await?;

        farm.create::<InferenceJob>(&manifest(&cases)).await?;
        for condition in ["Complete", "Settled"] {
            let wait = format!("--for=condition={condition}");
            let job = "inferencejob/first";
            let arguments = ["--namespace", &namespace, "wait", &wait, job, "--timeout=120s"];
            stack.kubectl(&arguments).await?;
        }
        let job = farm.wait_for("first", "Settled").await?;

        let delivered = Delivered::of(&farm, "first").await?;
        assert_answers(&farm, &delivered, &cases)?;
        let paid = assert_cost(&job, &delivered, &cases)?;
        assert_paid_once(&farm, &job, cases.len()).await?;

        let after = Money::of(&farm).await?;
        let fees = after.fees_since(&before)?;
        ensure!(
            nearly(before.escrow, after.escrow + i128::from(paid.nano())),
            "the escrow went from {} to {}, the job cost {paid}",
            before.escrow,
            after.escrow
        );
        ensure!(
            nearly(after.wallet + fees, before.wallet + i128::from(paid.nano())),
            "the wallet went from {} to {} and {fees} were fees, the job cost {paid}",
            before.wallet,
            after.wallet
        );
        let status = job.status.unwrap_or_default();
        ensure!(
            status
                .settlement
                .first()
                .is_some_and(|settlement| settlement.transaction.is_some()),
            "the status names the transaction"
        );
        Ok(())
    })
}

type Case<'a> = (&'a str, &'a Completion);

/// The reference's prompts. Each answer goes on to the reference's length, whichever way an undecided step went.
fn manifest(cases: &[Case<'_>]) -> Value {
    let bodies: Vec<Value> = cases
        .iter()
        .map(|(prompt, completion)| {
            json!({"prompt": prompt, "max_tokens": completion.tokens.len(), "ignore_eos": true})
        })
        .collect();
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "first"},
        "spec": {
            "model": MODEL,
            "endpoint": "/v1/completions",
            "input": {"inline": bodies},
            "parameters": {"temperature": 0},
            "billing": {"mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": 200_000_000},
        },
    })
}

/// Every answer is the reference's for as long as the reference is decided, and has its token counts.
fn assert_answers(farm: &Farm<'_>, delivered: &Delivered, cases: &[Case<'_>]) -> Result<()> {
    let model =
        ModelFile::open(&farm.stack.description.model_path, None).context("could not read the model")?;
    let tokenizer = Tokenizer::read(&model).context("could not read the vocabulary")?;
    let answers = delivered.answers()?;
    for (index, (prompt, completion)) in (0..).zip(cases) {
        let answer = answers
            .get(&index)
            .with_context(|| format!("no answer to {prompt:?}"))?;
        let tokens = &completion.tokens[..completion.decided()];
        let decided = tokens
            .iter()
            .flat_map(|&token| tokenizer.text_bytes(token))
            .copied()
            .collect();
        let decided = String::from_utf8(decided)?;
        let text = &answer.choices[0].text;
        ensure!(
            text.starts_with(&decided),
            "{prompt:?} gave {text:?}, the reference says {decided:?}"
        );
        let took = (answer.usage.prompt_tokens, answer.usage.completion_tokens);
        let expected = (completion.prompt_tokens.len(), completion.tokens.len());
        ensure!(
            took == expected,
            "{prompt:?} took {took:?} tokens, the reference {expected:?}"
        );
    }
    Ok(())
}

/// The job's usage is the reference's, and its cost is price times tokens, rounded up once a request.
fn assert_cost(job: &InferenceJob, delivered: &Delivered, cases: &[Case<'_>]) -> Result<NanoTon> {
    let status = job.status.as_ref().context("the job has a status")?;
    let prices: Prices = serde_json::from_value(prices())?;
    let (mut usage, mut cost) = (Usage::default(), NanoTon::ZERO);
    for (_, completion) in cases {
        let request = Usage {
            prompt_tokens: count(completion.prompt_tokens.len())?,
            completion_tokens: count(completion.tokens.len())?,
            ..Usage::default()
        };
        usage = usage.checked_add(request)?;
        cost = cost.checked_add(prices.cost(request)?)?;
    }
    ensure!(
        status.usage == usage,
        "usage is {:?}, the reference's is {usage:?}",
        status.usage
    );
    ensure!(
        status.cost.spent_nano == cost,
        "cost is {}, price times tokens is {cost}",
        status.cost.spent_nano
    );
    ensure!(
        NanoTon::sum(delivered.receipts.iter().map(|receipt| receipt.nano))? == cost,
        "the receipts do not add up to {cost}"
    );
    Ok(cost)
}

/// NanoTON of rent that the escrow may lose by itself while the test runs.
const RENT: i128 = 100;

fn nearly(a: i128, b: i128) -> bool {
    (a - b).abs() <= RENT
}

/// Where the money is, and every transaction that moved it.
struct Money {
    wallet: i128,
    escrow: i128,
    transactions: Vec<Transaction>,
}

impl Money {
    async fn of(farm: &Farm<'_>) -> Result<Self> {
        let channel = farm.api::<PaymentChannel>().get(CHANNEL).await?;
        let contract = Address::parse_for(&farm.stack.network(), &channel.spec.contract_address)?;
        let chain = farm.stack.chain.client();
        let mut transactions = chain
            .transactions(&farm.wallet, None, MAX_TRANSACTIONS_PER_PAGE)
            .await?;
        transactions.extend(
            chain
                .transactions(&contract, None, MAX_TRANSACTIONS_PER_PAGE)
                .await?,
        );
        Ok(Self {
            wallet: farm.stack.balance(&farm.wallet).await?.nano().into(),
            escrow: farm.contract().await?.available.nano().into(),
            transactions,
        })
    }

    /// What all transactions since `before` cost, on both accounts.
    fn fees_since(&self, before: &Self) -> Result<i128> {
        let is_new = |new: &&Transaction| before.transactions.iter().all(|old| old.hash != new.hash);
        let fees = self
            .transactions
            .iter()
            .filter(is_new)
            .map(Transaction::fees)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(fees.into_iter().map(|fee| i128::from(fee.nano())).sum())
    }
}

fn count(tokens: usize) -> Result<TokenCount> {
    Ok(TokenCount::new(u64::try_from(tokens)?)?)
}
