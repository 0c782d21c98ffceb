//! One look at the chain for the sake of one message in flight.

use cocoon_api::{NanoTon, crd::SettlementSpec, units::UnitError};
use cocoon_core::{
    funds::Sight,
    settlement::{Landed, Sighting, VALID_SECONDS},
};
use cocoon_ton::{
    Address, SignedMessage, channel::Payout, message::MessageInfo, reader::Found, transaction::Transaction,
};

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
    /// What the message cost the wallet in all, as far as it is known: see [`cost`].
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
    let found = if wallet.seqno > message.seqno {
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
    if found.is_some() {
        for redeem in &spec.redeems {
            redeemed.push(match address(chain, &redeem.contract_address) {
                Some(address) => shown(chain, &address).await?,
                None => NanoTon::ZERO,
            });
        }
    }
    let (fee, returned) = match &found {
        Some(found) => cost(chain, spec, found).unwrap_or_default(),
        None => (NanoTon::ZERO, 0),
    };
    Ok(Look {
        sighting: Sighting {
            chain_time,
            seqno: wallet.seqno,
            landed: found.map(|found| landed(chain, spec, &found.transaction)),
            redeemed,
            returned,
            clock,
        },
        fee,
    })
}

/// What the message cost the wallet with all its legs, and how many of its claims came back.
///
/// The legs: the wallet's own transaction with the ways of its messages; of the value that went along with each claim,
/// what the channel's transaction and the way back used up; and the transaction that took in what came back. A channel
/// sends step and rest in one message to the wallet that it pays, and the rest alone to a claimer; where it refused the
/// claim, the value bounces.
fn cost(chain: &Chain, spec: &SettlementSpec, found: &Found) -> Result<(NanoTon, usize), UnitError> {
    let sent = found.transaction.payments();
    let (mut fee, mut returned) = (found.transaction.fees()?, 0);
    for redeem in &spec.redeems {
        let Some(channel) = address(chain, &redeem.contract_address) else {
            continue;
        };
        let attached = sent.iter().find(|payment| payment.destination == channel);
        // Newest first: of several messages of a channel, the oldest answers this claim.
        let back = found
            .later
            .iter()
            .rev()
            .find_map(|transaction| Some((transaction, came_from(transaction, channel)?)));
        let (Some(attached), Some((taken_in, back))) = (attached, back) else {
            continue;
        };
        let step = if back.brings_claim {
            redeem.cumulative_nano.saturating_sub(redeem.redeemed_before_nano)
        } else {
            NanoTon::ZERO
        };
        let used = attached.value.checked_add(step)?.saturating_sub(back.value);
        fee = fee.checked_add(used)?.checked_add(taken_in.fees()?)?;
        returned += 1;
    }
    Ok((fee, returned))
}

/// What a channel sent to the wallet.
struct Back {
    value: NanoTon,
    /// Whether the claim came with it.
    brings_claim: bool,
}

fn came_from(transaction: &Transaction, channel: Address) -> Option<Back> {
    let message = transaction.in_message.as_ref()?;
    match message.info {
        MessageInfo::Internal {
            source,
            value,
            bounced,
            ..
        } if source == Some(channel) => Some(Back {
            value,
            brings_claim: !bounced && matches!(Payout::parse(&message.body), Some(Payout::ClaimPaid { .. })),
        }),
        _ => None,
    }
}

async fn shown(chain: &Chain, address: &Address) -> Result<NanoTon, ChainError> {
    Ok(match sight(chain, address).await? {
        Sight::Escrow(escrow) => escrow.redeemed,
        _ => NanoTon::ZERO,
    })
}

/// Counts the claims that left the wallet: out-messages to the channels they are for. A sweep left it where exactly
/// that much went to its address.
fn landed(chain: &Chain, spec: &SettlementSpec, transaction: &Transaction) -> Landed {
    let payments = transaction.payments();
    let sent = |text: &str| {
        address(chain, text)
            .is_some_and(|address| payments.iter().any(|payment| payment.destination == address))
    };
    let swept = spec.sweep.as_ref().is_some_and(|sweep| {
        let to = address(chain, &sweep.to);
        payments
            .iter()
            .any(|payment| Some(payment.destination) == to && payment.value == sweep.nano)
    });
    Landed {
        hash: hex::encode(transaction.hash),
        at: transaction.now,
        swept,
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
