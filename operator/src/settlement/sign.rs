//! Signs one message of a provider's wallet and stores it, before anything is sent.

use std::collections::BTreeMap;

use cocoon_api::{
    NanoTon,
    crd::{CocoonProvider, FullName, PaymentChannel, Settlement, SettlementSpec},
    names::PROVIDER_LABEL,
};
use cocoon_core::settlement::{Candidate, lags, next_name, surplus};
use cocoon_ton::Address;
use kube::{Resource as _, ResourceExt as _, api::PostParams};
use scopeguard::ScopeGuard;
use tracing::{debug, info, warn};

use super::{
    Account, Claim, Settlements, account::affordable, claims::in_time, message, observe::Seen, plan::Order,
    status,
};
use crate::{
    chain::ChainError,
    error::{Error, KubeContext as _, Result, describe},
};

/// What became of a message that was to be signed.
pub(super) enum Signing {
    /// It is stored, or somebody else's is: there is a next step.
    Done,
    /// The chain or the wallet does not allow it now.
    Blocked,
}

/// Signs what is ordered, if the chain would take it now, and stores it.
pub(super) async fn sign(
    provider: &CocoonProvider,
    seen: &Seen,
    order: Order,
    shared: &Settlements,
) -> Result<Signing> {
    let account = match Account::of(provider, &shared.ctx).await? {
        Ok(account) => account,
        Err(missing) => {
            debug!(
                provider = describe(provider),
                "nothing is signed: {}", missing.message
            );
            return Ok(Signing::Blocked);
        }
    };
    let Some(wallet) = shared.take_wallet(&account, provider) else {
        debug!(
            provider = describe(provider),
            "another provider's message from the same wallet is in flight"
        );
        return Ok(Signing::Blocked);
    };
    let prepared = match prepare(provider, &account, &seen.channels, order, shared).await {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return Ok(Signing::Blocked),
        Err(error) => {
            debug!(provider = describe(provider), "nothing is signed: {error}");
            return Ok(Signing::Blocked);
        }
    };
    let spec = sign_message(provider, &account, prepared)?;
    if let Some(stored) = store(provider, spec, &seen.settlements, shared).await? {
        ScopeGuard::into_inner(wallet);
        status::signed(&stored, shared).await?;
    }
    Ok(Signing::Done)
}

/// What is signed, with the wallet's number and the chain's time.
struct Prepared {
    seqno: u32,
    time: u32,
    content: Content,
}

enum Content {
    /// Claims that the chain would pay now.
    Claims(Vec<Claim>),
    /// Where the wallet's surplus goes, and how much it is.
    Sweep(Address, NanoTon),
}

async fn prepare(
    provider: &CocoonProvider,
    account: &Account,
    channels: &[PaymentChannel],
    order: Order,
    shared: &Settlements,
) -> std::result::Result<Option<Prepared>, ChainError> {
    let chain = &account.chain;
    let time = chain.time().await?;
    if lags(time, shared.ctx.now().as_second()) {
        return Err(ChainError::Unavailable(format!(
            "the chain's newest block is of {time}"
        )));
    }
    let wallet = chain.wallet(&account.wallet.address()).await?;
    let content = match order {
        Order::Claims(candidates) => {
            let most = affordable(wallet.balance);
            let candidates = candidates.into_iter().take(most);
            claims(provider, account, (channels, candidates), time, shared).await?
        }
        Order::Sweep => sweep(provider, account, wallet.balance),
    };
    if content.is_none() {
        let balance = wallet.balance.nano();
        debug!(
            provider = describe(provider),
            balance, "nothing can be claimed or swept now"
        );
    }
    Ok(content.map(|content| Prepared {
        seqno: wallet.seqno,
        time,
        content,
    }))
}

/// Claims that the chain would pay at `time`.
async fn claims(
    provider: &CocoonProvider,
    account: &Account,
    (channels, candidates): (&[PaymentChannel], impl Iterator<Item = Candidate>),
    time: u32,
    shared: &Settlements,
) -> std::result::Result<Option<Content>, ChainError> {
    let home = provider.namespace().unwrap_or_default();
    let by_name: BTreeMap<String, &PaymentChannel> = channels
        .iter()
        .map(|channel| (FullName::of(channel).seen_from(&home), channel))
        .collect();
    let checks = candidates
        .filter_map(|candidate| Some((*by_name.get(&candidate.name)?, candidate)))
        // The status that the plan was made from may be older than what is known of the contract's holder.
        .filter(|(channel, _)| !shared.ctx.contracts.is_held_by_another(channel))
        .map(|(channel, candidate)| Claim::check(candidate, channel, &account.chain, &account.payee, time));
    let mut claims = Vec::new();
    for checked in in_time(checks).await? {
        match checked {
            Ok(claim) => claims.push(claim),
            Err(why) => info!(provider = describe(provider), "not claimed now: {why}"),
        }
    }
    Ok((!claims.is_empty()).then_some(Content::Claims(claims)))
}

/// What a wallet with this balance passes on to the payout address, where that is another.
fn sweep(provider: &CocoonProvider, account: &Account, balance: NanoTon) -> Option<Content> {
    let to: Address = account.payee.address.parse().ok()?;
    let surplus = surplus(balance, provider.spec.payout.fee_reserve_nano)?;
    (to != account.wallet.address()).then_some(Content::Sweep(to, surplus))
}

fn sign_message(provider: &CocoonProvider, account: &Account, prepared: Prepared) -> Result<SettlementSpec> {
    let Prepared { seqno, time, content } = prepared;
    let (name, wallet, key) = (provider.name_any(), &account.wallet, &account.key);
    let signed = match content {
        Content::Claims(claims) => message::sign(&name, wallet, key, seqno, time, claims),
        Content::Sweep(to, nano) => message::sweep(&name, wallet, key, (seqno, time), (to, nano)),
    };
    signed.map_err(|source| Error::Chain {
        action: "sign a settlement",
        network: account.chain.network().name().to_owned(),
        source: Box::new(source),
    })
}

/// Stores the signed message before it is ever sent. Its name says which number of which wallet it uses up, and for
/// which time, so that of two operators that sign for the same number at the same moment one is refused and reads
/// again: none.
async fn store(
    provider: &CocoonProvider,
    spec: SettlementSpec,
    settlements: &[Settlement],
    shared: &Settlements,
) -> Result<Option<Settlement>> {
    let taken = settlements
        .iter()
        .filter_map(|other| other.metadata.name.as_deref());
    let name = next_name(&provider.name_any(), &spec.wallet, spec.seqno, taken);
    let mut settlement = Settlement::new(&name, spec);
    settlement.metadata.owner_references = provider.owner_ref(&()).map(|owner| vec![owner]);
    settlement
        .labels_mut()
        .insert(PROVIDER_LABEL.to_owned(), label(&provider.name_any()));
    let api = shared.api(&provider.namespace().unwrap_or_default());
    match api.create(&PostParams::default(), &settlement).await {
        Ok(stored) => {
            info!(
                settlement = describe(&stored),
                claimed = stored.spec.claimed,
                "signed"
            );
            Ok(Some(stored))
        }
        Err(kube::Error::Api(response)) if response.code == 409 => {
            warn!(
                settlement = describe(&settlement),
                "somebody else signed for this number; reading again"
            );
            Ok(None)
        }
        Err(kube::Error::Api(response)) if is_terminating(&response) => {
            settlement.metadata.namespace = provider.namespace();
            settlement.metadata.uid = Some(format!("unstored/{}", settlement.spec.message_hash));
            shared.memory.keep(describe(provider), settlement.clone());
            info!(
                settlement = describe(&settlement),
                claimed = settlement.spec.claimed,
                "signed, and kept in memory: the namespace is being deleted"
            );
            Ok(Some(settlement))
        }
        Err(error) => Err(error).attempt("store", describe(&settlement)),
    }
}

/// Whether the API server stores nothing new because the namespace is being deleted.
fn is_terminating(refusal: &kube::core::Status) -> bool {
    let causes = refusal.details.iter().flat_map(|details| &details.causes);
    refusal.code == 403
        && causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
}

/// A name as the value of a label, which is shorter.
fn label(name: &str) -> String {
    const MAX_LABEL: usize = 63;
    let label: String = name.chars().take(MAX_LABEL).collect();
    label.trim_end_matches(['.', '-']).to_owned()
}
