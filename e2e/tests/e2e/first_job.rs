//! From `kubectl apply` to paid in TON.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{NanoTon, TokenCount, Usage, crd::PaymentChannel, units::Prices};
use cocoon_ton::{Address, client::MAX_TRANSACTIONS_PER_PAGE, transaction::Transaction};
use e2e::{
    farm::{CHANNEL, Farm, Offer, prices},
    golden::Golden,
};
use gpu_agent::model::{file::ModelFile, tokenizer::Tokenizer};

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

        let prompts: Vec<&str> = cases.iter().map(|(prompt, _)| *prompt).collect();
        farm.submit("first", &prompts, 200_000_000).await?;
        for condition in ["Complete", "Settled"] {
            let wait = format!("--for=condition={condition}");
            stack
                .kubectl(&[
                    "--namespace",
                    &namespace,
                    "wait",
                    &wait,
                    "inferencejob/first",
                    "--timeout=120s",
                ])
                .await?;
        }
        let job = farm.wait_for("first", "Settled").await?;

        let delivered = Delivered::of(&farm, "first").await?;
        let model =
            ModelFile::open(&stack.description.model_path, None).context("could not read the model")?;
        let tokenizer = Tokenizer::read(&model).context("could not read the vocabulary")?;
        let answers = delivered.answers()?;
        let mut usage = Usage::default();
        for (index, (prompt, completion)) in (0..).zip(&cases) {
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
            let choice = &answer.choices[0];
            let text = &choice.text;
            ensure!(
                text.starts_with(&decided),
                "{prompt:?} gave {text:?}, the reference says {decided:?}"
            );
            ensure!(
                answer.usage.prompt_tokens == completion.prompt_tokens.len(),
                "prompt tokens of {prompt:?}"
            );
            let sampled = answer.usage.completion_tokens;
            // An answer that left the reference where that is undecided may also end before it.
            let ended_early = choice.finish_reason == "stop"
                && (completion.decided()..completion.tokens.len()).contains(&sampled);
            ensure!(
                sampled == completion.tokens.len() || ended_early,
                "{prompt:?} took {sampled} completion tokens, the reference {}",
                completion.tokens.len()
            );
            usage = usage.checked_add(Usage {
                prompt_tokens: count(completion.prompt_tokens.len())?,
                completion_tokens: count(sampled)?,
                ..Usage::default()
            })?;
        }

        let status = job.status.clone().context("the job has a status")?;
        ensure!(
            status.usage == usage,
            "usage is {:?}, the answers add up to {usage:?}",
            status.usage
        );
        let prices: Prices = serde_json::from_value(prices())?;
        let costs = delivered
            .receipts
            .iter()
            .map(|receipt| prices.cost(receipt.usage))
            .collect::<Result<Vec<_>, _>>()?;
        ensure!(
            status.cost.spent_nano == NanoTon::sum(costs)?,
            "cost is not price times tokens"
        );
        assert_paid_once(&farm, &job, cases.len()).await?;

        let paid = status.cost.spent_nano;
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
