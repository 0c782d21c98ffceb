//! `channel close`: the first call starts the challenge window, a later one settles.

use anyhow::Result;
use clap::Args;
use cocoon_ton::Address;

use super::{PayerArguments, object};
use crate::{
    amount,
    chain::{Chain, escrow::Closing},
    kubernetes,
    payer::Payer,
};

/// What to close.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the channel, or address of its contract.
    name: String,
    #[command(flatten)]
    with: PayerArguments,
}

/// Takes the next step of closing and says what comes next. A contract named by its address needs no cluster.
pub(super) async fn run(arguments: Arguments, cluster: kubernetes::Arguments) -> Result<()> {
    let Arguments { name, with } = arguments;
    if object::is_address(&name) {
        let network = with.chain.named_network()?;
        let address = object::given_address(&name, &network)?;
        let payer = with.payer.read(&network)?;
        let chain = with.chain.connect(network).await?;
        return step(&chain, &payer, &address, &format!("contract {name}"), "").await;
    }
    let bound = object::bind(&name, &with, &cluster.connect().await?).await?;
    let hint = format!("; `kubectl delete paymentchannel {name}` removes the object");
    step(
        &bound.chain,
        &bound.payer,
        &bound.address,
        &format!("channel {name}"),
        &hint,
    )
    .await
}

async fn step(chain: &Chain, payer: &Payer, address: &Address, what: &str, hint: &str) -> Result<()> {
    match chain.close(payer, address).await? {
        Closing::Window { deadline, remaining } => println!(
            "{what} is closing: the provider may redeem until {}; run the same command in {} to get the rest back",
            amount::time(deadline.into()),
            amount::span(remaining.into())
        ),
        Closing::Settled { returned } => println!(
            "{what} is closed: {} TON went back to {}{hint}",
            returned.to_ton_string(),
            payer.wallet.address().friendly(chain.network(), false)
        ),
        Closing::Already => println!("{what} is closed{hint}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
