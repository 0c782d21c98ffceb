//! Reads what a provider's settlement depends on: its channels, its settlements, and the chain where a message is in
//! flight.

use std::time::Instant;

use cocoon_api::{
    NanoTon,
    conditions::{self, Reason as _, WalletReady},
    crd::{CocoonProvider, FullName, PaymentChannel, Settlement},
};
use cocoon_core::settlement::{InFlight, has_ended};
use cocoon_ton::Address;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{
    Settlements,
    look::{Look, look},
    message,
};
use crate::{
    chain::ChainError,
    error::{KubeContext as _, Result, describe},
    toward,
};

/// What was read for one provider.
pub(super) struct Seen {
    pub(super) channels: Vec<PaymentChannel>,
    pub(super) settlements: Vec<Settlement>,
    pub(super) flight: Option<Flight>,
    /// The Secret with the wallet's key is being deleted, and only held until what is owed is claimed.
    pub(super) is_key_leaving: bool,
    /// What the wallet holds, where it was looked at for what it should pass on to the payout address.
    pub(super) balance: Option<NanoTon>,
}

/// The oldest settlement that has not ended.
pub(super) struct Flight {
    pub(super) settlement: Settlement,
    pub(super) message: std::result::Result<(InFlight, cocoon_ton::SignedMessage), message::MessageError>,
    pub(super) look: std::result::Result<Look, ChainError>,
}

pub(super) async fn observe(provider: &CocoonProvider, shared: &Settlements) -> Result<Seen> {
    let namespace = provider.namespace().unwrap_or_default();
    let name = provider.name_any();
    // Settlements before channels: what a settlement of this list confirmed is in the channels of the next one.
    let mut settlements = Api::<Settlement>::namespaced(shared.ctx.client.clone(), &namespace)
        .list(&ListParams::default().fields(&format!("spec.providerRef.name={name}")))
        .await
        .attempt("list settlements of provider", &name)?
        .items;
    settlements.extend(shared.memory.unstored(&describe(provider)));
    let channels = toward::channels(&FullName::of(provider), &shared.ctx).await?;
    let oldest = settlements
        .iter()
        .filter(|settlement| !has_ended(settlement))
        .min_by_key(|settlement| (settlement.spec.seqno, settlement.name_any()))
        .cloned();
    let flight = match oldest {
        Some(settlement) => Some(fly(settlement, provider, shared).await),
        None => None,
    };
    let list = provider
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let is_key_leaving = conditions::find(list, WalletReady::TYPE)
        .is_some_and(|condition| condition.reason == WalletReady::SecretDeleting.name());
    let balance = match &flight {
        Some(_) => None,
        None => balance(provider, shared).await,
    };
    Ok(Seen {
        channels,
        settlements,
        flight,
        is_key_leaving,
        balance,
    })
}

/// What the wallet holds that claims for a payout address of its own. What the chain does not tell is asked for again.
async fn balance(provider: &CocoonProvider, shared: &Settlements) -> Option<NanoTon> {
    let payout = &provider.spec.payout;
    let chain = shared.ctx.networks.get(&payout.network).ok()?;
    let wallet: Address = payout.claimer.as_ref()?.parse().ok()?;
    let is_due = || {
        shared
            .memory
            .looks_for_surplus(&describe(provider), Instant::now())
    };
    if payout.signer() == payout.address || !is_due() {
        return None;
    }
    Some(chain.wallet_lately(&wallet).await.ok()?.balance)
}

async fn fly(settlement: Settlement, provider: &CocoonProvider, shared: &Settlements) -> Flight {
    let sent_at = shared.sent_at(&settlement);
    let message = message::stored(&settlement.spec).map(|message| {
        (
            message::in_flight(&settlement.spec, settlement.status.as_ref(), sent_at),
            message,
        )
    });
    let look = match (&message, shared.ctx.networks.get(&provider.spec.payout.network)) {
        (Ok((_, message)), Ok(chain)) => {
            look(&chain, &settlement.spec, message, shared.ctx.now().as_second()).await
        }
        (Err(error), _) => Err(ChainError::Unavailable(error.to_string())),
        (_, Err(error)) => Err(error),
    };
    Flight {
        settlement,
        message,
        look,
    }
}
