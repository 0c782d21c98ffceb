//! One look at the chain for the sake of one message in flight.

use cocoon_api::{NanoTon, crd::SettlementSpec};
use cocoon_core::{
    funds::Sight,
    settlement::{Landed, Sighting, VALID_SECONDS},
};
use cocoon_ton::{Address, SignedMessage, transaction::Transaction};

use crate::{
    chain::{Chain, ChainError},
    channel::observe::sight,
};

/// How long before its signing the transaction of a message is searched for: clocks of blocks differ by seconds.
const SEARCH_MARGIN_SECONDS: u32 = 60;

/// What was seen.
#[derive(Debug, Clone)]
pub struct Look {
    /// What the sender decides by.
    pub sighting: Sighting,
    /// Fees of the wallet's transaction, if it is known.
    pub fee: NanoTon,
}

/// Looks at the chain: its time first, so that everything else is at least as new; then the wallet; and once its number
/// was used, the transaction and the channels.
pub async fn look(
    chain: &Chain,
    spec: &SettlementSpec,
    message: &SignedMessage,
    clock: i64,
) -> Result<Look, ChainError> {
    let chain_time = chain.time().await?;
    let wallet = chain.wallet(&message.destination).await?;
    let transaction = if wallet.seqno > message.seqno {
        let since = message
            .valid_until
            .saturating_sub(VALID_SECONDS + SEARCH_MARGIN_SECONDS);
        chain
            .transaction(&message.destination, &message.hash, since)
            .await?
    } else {
        None
    };
    let mut redeemed = Vec::new();
    if transaction.is_some() {
        for redeem in &spec.redeems {
            redeemed.push(match address(chain, &redeem.contract_address) {
                Some(address) => shown(chain, &address).await?,
                None => NanoTon::ZERO,
            });
        }
    }
    let fee = transaction
        .as_ref()
        .map(|transaction| transaction.total_fees)
        .unwrap_or_default();
    let landed = transaction.map(|transaction| landed(chain, spec, &transaction));
    Ok(Look {
        sighting: Sighting {
            chain_time,
            seqno: wallet.seqno,
            landed,
            redeemed,
            clock,
        },
        fee,
    })
}

async fn shown(chain: &Chain, address: &Address) -> Result<NanoTon, ChainError> {
    Ok(match sight(chain, address).await? {
        Sight::Escrow(escrow) => escrow.redeemed,
        _ => NanoTon::ZERO,
    })
}

/// Counts the claims that left the wallet: out-messages to the channels they are for.
fn landed(chain: &Chain, spec: &SettlementSpec, transaction: &Transaction) -> Landed {
    let payments = transaction.payments();
    let sent = |text: &str| {
        address(chain, text)
            .is_some_and(|address| payments.iter().any(|payment| payment.destination == address))
    };
    Landed {
        hash: hex::encode(transaction.hash),
        at: transaction.now,
        messages: spec
            .redeems
            .iter()
            .filter(|redeem| sent(&redeem.contract_address))
            .count(),
    }
}

fn address(chain: &Chain, text: &str) -> Option<Address> {
    Address::parse_for(chain.network(), text).ok()
}
