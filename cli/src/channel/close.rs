//! `channel close`: the first call starts the challenge window, a later one settles.

use anyhow::Result;
use clap::Args;

use super::{PayerArguments, object};
use crate::{amount, chain::escrow::Closing, kubernetes::Cluster};

/// What to close.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the channel.
    name: String,
    #[command(flatten)]
    with: PayerArguments,
}

/// Takes the next step of closing and says what comes next.
pub(super) async fn run(arguments: Arguments, cluster: &Cluster) -> Result<()> {
    let Arguments { name, with } = arguments;
    let bound = object::bind(&name, &with, cluster).await?;
    match bound.chain.close(&bound.payer, &bound.address).await? {
        Closing::Window { deadline, remaining } => println!(
            "channel {name} is closing: the provider may redeem until {}; run the same command in {} to get the rest back",
            amount::time(deadline.into()),
            amount::span(remaining.into())
        ),
        Closing::Settled { returned } => println!(
            "channel {name} is closed: {} TON went back to {}; `kubectl delete paymentchannel {name}` removes the object",
            returned.to_ton_string(),
            bound.payer.wallet.address().friendly(&bound.chain.network, false)
        ),
        Closing::Already => {
            println!("channel {name} is closed; `kubectl delete paymentchannel {name}` removes the object");
        }
    }
    Ok(())
}
