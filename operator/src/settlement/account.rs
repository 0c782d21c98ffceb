//! The wallet of a provider: its key, its address and its network, checked against each other.

use std::sync::Arc;

use cocoon_api::{
    NanoTon,
    conditions::{Observation, Reason as _, WalletReady},
    crd::CocoonProvider,
    names::{WALLET_KEY, is_object_name},
};
use cocoon_core::funds::Payee;
use cocoon_ton::{SecretKey, Signer as _, Wallet, channel::REDEEM_VALUE, reader::WalletOnChain};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};

use crate::{
    chain::{Chain, ChainError},
    context::Context,
    error::{KubeContext as _, Result},
};

/// Stays in the wallet for its own transaction: one with a hundred claims costs it less than 0.02 TON, which
/// `operator/tests/sender.rs` tries.
const WALLET_RESERVE: u64 = 20_000_000;

/// Least of the reserve for one claim: eight times the 0.0006 TON that such a message costs the wallet.
const CLAIM_RESERVE: u64 = 5_000_000;

/// A wallet that can sign.
pub(crate) struct Account {
    pub(super) wallet: Wallet,
    /// Whom channels are to pay; the wallet is its claimer.
    pub(super) payee: Payee,
    pub(crate) key: SecretKey,
    pub(crate) chain: Arc<Chain>,
    /// The Secret of the key is being deleted.
    pub(super) is_leaving: bool,
}

impl Account {
    /// The account of a provider; the condition that says what is missing where it cannot sign.
    pub(crate) async fn of(
        provider: &CocoonProvider,
        ctx: &Context,
    ) -> Result<std::result::Result<Self, Observation>> {
        let payout = &provider.spec.payout;
        let namespace = provider.namespace().unwrap_or_default();
        let name = &payout.wallet_secret_ref.name;
        let secret = if is_object_name(name) {
            Api::<Secret>::namespaced(ctx.client.clone(), &namespace)
                .get_opt(name)
                .await
                .attempt("read Secret", name)?
        } else {
            None
        };
        Ok(Self::validate(provider, secret.as_ref(), ctx))
    }

    fn validate(
        provider: &CocoonProvider,
        secret: Option<&Secret>,
        ctx: &Context,
    ) -> std::result::Result<Self, Observation> {
        let payout = &provider.spec.payout;
        let name = &payout.wallet_secret_ref.name;
        let missing = |what: &str| WalletReady::SecretMissing.condition(format!("waiting for {what}"));
        let secret = secret.ok_or_else(|| missing(&format!("Secret {name}")))?;
        let text = secret
            .data
            .as_ref()
            .and_then(|data| data.get(WALLET_KEY))
            .ok_or_else(|| missing(&format!("key {WALLET_KEY} of Secret {name}")))?;
        let malformed = |why: String| {
            WalletReady::SecretMalformed.condition(format!("key {WALLET_KEY} of Secret {name}: {why}"))
        };
        let text = std::str::from_utf8(&text.0).map_err(|_| malformed("it is no text".to_owned()))?;
        let key = SecretKey::parse(text).map_err(|error| malformed(error.to_string()))?;
        let chain = ctx
            .networks
            .get(&payout.network)
            .map_err(|error| WalletReady::WrongNetwork.condition(format!("payout.network: {error}")))?;
        let wallet = Wallet::new(key.public_key(), chain.network());
        let invalid = |why: String| WalletReady::AddressInvalid.condition(why);
        let payee = Payee::of(payout, chain.network())
            .map_err(|error| invalid(format!("payout.address or payout.claimer: {error}")))?;
        if payee.claimer != wallet.address().to_string() {
            let own = wallet.address().friendly(chain.network(), false);
            let field = if payout.claimer.is_some() {
                "claimer"
            } else {
                "address"
            };
            return Err(invalid(format!(
                "payout.{field}: the wallet v5r1 of Secret {name} is {own} on {}",
                payout.network
            )));
        }
        Ok(Self {
            wallet,
            payee,
            key,
            chain,
            is_leaving: secret.metadata.deletion_timestamp.is_some(),
        })
    }

    /// What the wallet is good for, as the chain shows it.
    pub(super) fn judge(&self, wallet: std::result::Result<WalletOnChain, ChainError>) -> Observation {
        if self.is_leaving {
            return WalletReady::SecretDeleting.condition(
                "the wallet's Secret is being deleted, and held only until what is owed is claimed",
            );
        }
        match wallet {
            Ok(wallet) if affordable(wallet.balance) == 0 => {
                let needed = REDEEM_VALUE.nano() + CLAIM_RESERVE;
                let needed = NanoTon::from_nano(needed).unwrap_or(REDEEM_VALUE).to_ton_string();
                WalletReady::LowBalance.condition(format!(
                    "{} holds {} TON, and a settlement needs {needed} TON, of which most comes back",
                    self.wallet.address().friendly(self.chain.network(), false),
                    wallet.balance.to_ton_string(),
                ))
            }
            Ok(wallet) => {
                let how = if wallet.deployed {
                    ""
                } else {
                    "; the first settlement deploys it"
                };
                let troubled = self.chain.troubled();
                let troubled =
                    troubled.map_or(String::new(), |who| format!("; of the chain's endpoints, {who}"));
                WalletReady::WalletFunded.condition(format!(
                    "{} TON for fees{how}{troubled}",
                    wallet.balance.to_ton_string()
                ))
            }
            Err(ChainError::WrongNetwork(why)) => WalletReady::WrongNetwork.condition(why),
            Err(ChainError::Unavailable(why)) => WalletReady::EndpointUnavailable.condition(why),
        }
    }
}

/// Claims that a wallet with this balance can send in one message: each takes its attached value along until the
/// channel sends it back.
pub(super) fn affordable(balance: NanoTon) -> usize {
    let value = REDEEM_VALUE.nano();
    let many = balance.nano().saturating_sub(WALLET_RESERVE) / value;
    let one = u64::from(balance.nano() >= value.saturating_add(CLAIM_RESERVE));
    usize::try_from(many.max(one)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_affords_as_many_claims_as_it_can_attach_values() {
        let claims = |nano| affordable(NanoTon::from_nano(nano).unwrap());
        let cases = [
            (0, 0),
            (14_999_999, 0),
            (15_000_000, 1),
            (39_999_999, 1),
            (40_000_000, 2),
            (1_020_000_000, 100),
        ];
        for (balance, expected) in cases {
            assert_eq!(claims(balance), expected, "{balance}");
        }
    }
}
