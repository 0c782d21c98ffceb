//! What a payer does with the escrow contract of a channel.

use anyhow::{Context as _, Result, bail, ensure};
use cocoon_api::NanoTon;
use cocoon_ton::{
    Address, ChannelOnChain, ChannelParams, ChannelState, ChannelStatus, SignedVoucher, Voucher, channel,
    message::InternalMessage, voucher::NO_EXPIRY,
};
use sha2::{Digest as _, Sha256};

use super::{Chain, until};
use crate::{amount, payer::Payer};

/// Kept in the wallet for the fees of one payment: the wallet's deployment, its message and the way to the channel came
/// to less than a tenth of it at the prices of 2026.
const FEES: NanoTon = match NanoTon::from_nano(10_000_000) {
    Ok(amount) => amount,
    Err(_) => panic!("a constant amount is out of range"),
};

/// What opening a channel did.
#[derive(Debug)]
pub struct Opened {
    pub state: ChannelState,
    /// Put into the contract by this run; nothing where an earlier run had finished it.
    pub paid: NanoTon,
}

/// What closing a channel did.
#[derive(Debug, PartialEq, Eq)]
pub enum Closing {
    /// The challenge window runs until this Unix second.
    Window { deadline: u32, remaining: u32 },
    /// Settled by this run: this much went back to the payer.
    Settled { returned: NanoTon },
    /// It was closed before.
    Already,
}

/// Tells several channels of one pair apart: the same channel of the same namespace always has the same contract, so an
/// interrupted `open` finds what it deployed.
pub fn salt(namespace: &str, name: &str) -> u32 {
    let digest = Sha256::digest(format!("cocoon.farm/channel-salt/v1/{namespace}/{name}"));
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

impl Chain {
    /// The channel at an address, which must be one.
    pub async fn channel(&self, address: &Address) -> Result<ChannelState> {
        let at = address.friendly(self.network(), true);
        match self.state(address).await? {
            ChannelOnChain::Channel { state, .. } => Ok(state),
            ChannelOnChain::NotDeployed { .. } => bail!("no contract is at {at}: open the channel first"),
            other => bail!("{}", not_a_channel(&at, &other)),
        }
    }

    /// Makes sure that the channel is deployed, open, and holds at least `deposit`. Pays what is missing.
    pub async fn open(&self, payer: &Payer, params: &ChannelParams, deposit: NanoTon) -> Result<Opened> {
        let earlier = self.finish_earlier(payer).await?;
        let address = params.address();
        let at = address.friendly(self.network(), true);
        if earlier.iter().any(|payment| payment.destination == address) {
            // An endpoint that lags must not make this run pay again.
            self.when(
                &address,
                "the contract shows the earlier run's deposit",
                |state| state.status == ChannelStatus::Open,
            )
            .await?;
        }
        let query = self.query_id(payer).await?;
        let (message, paid) = match self.state(&address).await? {
            ChannelOnChain::NotDeployed { .. } => {
                (channel::deploy_and_fund(params, deposit, query)?, deposit)
            }
            ChannelOnChain::Channel { state, .. } => match state.status {
                ChannelStatus::Open if state.available >= deposit => {
                    eprintln!(
                        "the contract at {at} holds {} TON already",
                        state.available.to_ton_string()
                    );
                    return Ok(Opened {
                        state,
                        paid: NanoTon::ZERO,
                    });
                }
                ChannelStatus::Open => {
                    let missing = deposit.saturating_sub(state.available);
                    (channel::top_up(address, missing, query)?, missing)
                }
                ChannelStatus::Closed => (channel::top_up(address, deposit, query)?, deposit),
                // The payer's own top-up ends the closing; one of nothing but its allowance does where nothing is
                // missing.
                ChannelStatus::Closing { .. } => {
                    let missing = deposit.saturating_sub(state.available);
                    eprintln!(
                        "the contract at {at} is closing: the deposit opens it again, in the same epoch"
                    );
                    (channel::top_up(address, missing, query)?, missing)
                }
            },
            other => bail!("{}", not_a_channel(&at, &other)),
        };
        self.pay_from(payer, &message).await?;
        let state = self
            .when(&address, "the contract shows the deposit", |state| {
                state.status == ChannelStatus::Open && state.available >= deposit
            })
            .await?;
        Ok(Opened { state, paid })
    }

    /// Adds `deposit` to a channel.
    pub async fn top_up(&self, payer: &Payer, address: &Address, deposit: NanoTon) -> Result<ChannelState> {
        let earlier = self.finish_earlier(payer).await?;
        let before = self.channel(address).await?;
        match before.status {
            ChannelStatus::Open => {}
            ChannelStatus::Closing { .. } | ChannelStatus::Closed => ensure!(
                before.params.payer == payer.wallet.address(),
                "the channel is closing or closed and only its payer {} can open it again, not {}",
                before.params.payer.friendly(self.network(), false),
                payer.wallet.address().friendly(self.network(), false)
            ),
        }
        let message = channel::top_up(*address, deposit, self.query_id(payer).await?)?;
        if earlier
            .iter()
            .any(|payment| payment.destination == *address && payment.value == message.value)
        {
            eprintln!(
                "the earlier run's deposit of {} TON has arrived",
                deposit.to_ton_string()
            );
            return Ok(before);
        }
        self.pay_from(payer, &message).await?;
        // What the provider redeems in between lowers what is available, and shows as redeemed.
        let total = |state: &ChannelState| state.available.checked_add(state.redeemed);
        let least = total(&before)?;
        self.when(address, "the contract shows the deposit", |state| {
            state.status == ChannelStatus::Open && total(state).is_ok_and(|total| total > least)
        })
        .await
    }

    /// The next step of closing: starts the challenge window, or settles once it is over.
    pub async fn close(&self, payer: &Payer, address: &Address) -> Result<Closing> {
        self.finish_earlier(payer).await?;
        let state = self.channel(address).await?;
        ensure!(
            state.params.payer == payer.wallet.address(),
            "only the payer {} can close the channel, and this key's wallet is {}",
            state.params.payer.friendly(self.network(), false),
            payer.wallet.address().friendly(self.network(), false)
        );
        let query = self.query_id(payer).await?;
        let deadline = match state.status {
            ChannelStatus::Closed => return Ok(Closing::Already),
            ChannelStatus::Closing { deadline } => deadline,
            ChannelStatus::Open => {
                eprintln!(
                    "starting the challenge window of {}",
                    amount::span(state.params.challenge_window().into())
                );
                self.pay_from(payer, &channel::close(*address, query)).await?;
                let state = self
                    .when(address, "the contract is closing", |state| {
                        state.status != ChannelStatus::Open
                    })
                    .await?;
                match state.status {
                    ChannelStatus::Closing { deadline } => deadline,
                    // The provider refunded at once.
                    ChannelStatus::Open | ChannelStatus::Closed => return Ok(Closing::Already),
                }
            }
        };
        let remaining = deadline.saturating_sub(self.time().await?);
        if remaining > 0 {
            return Ok(Closing::Window { deadline, remaining });
        }
        eprintln!("the challenge window is over, settling");
        self.pay_from(payer, &channel::settle(*address, query)).await?;
        self.when(address, "the contract is closed", |state| {
            state.status == ChannelStatus::Closed
        })
        .await?;
        Ok(Closing::Settled {
            returned: state.available,
        })
    }

    /// Signs a voucher for the channel's present epoch, valid for so many seconds of chain time from here on, or as
    /// long as the epoch.
    pub async fn voucher(
        &self,
        payer: &Payer,
        address: &Address,
        state: &ChannelState,
        cap: NanoTon,
        valid_for: Option<u32>,
    ) -> Result<SignedVoucher> {
        let key = payer.wallet.public_key();
        ensure!(
            state.params.payer_key == key,
            "the channel's vouchers are signed by the key {}, and this one is {key}",
            state.params.payer_key
        );
        ensure!(
            cap > state.redeemed,
            "a cap of {} TON allows nothing: the provider redeemed {} TON since the channel's first day, and the cap counts from there",
            cap.to_ton_string(),
            state.redeemed.to_ton_string()
        );
        let valid_until = match valid_for {
            None => NO_EXPIRY,
            Some(seconds) => self
                .time()
                .await?
                .checked_add(seconds)
                .filter(|end| *end != NO_EXPIRY)
                .context("--valid-for reaches beyond the year 2106")?,
        };
        let voucher = Voucher {
            global_id: self.network().global_id(),
            channel: *address,
            cap,
            valid_until,
            epoch: state.epoch,
        };
        Ok(voucher.sign(&payer.key)?)
    }

    async fn pay_from(&self, payer: &Payer, message: &InternalMessage) -> Result<()> {
        let address = payer.wallet.address();
        let balance = self.wallet(&address).await?.balance;
        let needed = message.value.checked_add(FEES)?;
        let wallet = address.friendly(self.network(), false);
        ensure!(
            balance >= needed,
            "the payer's wallet {wallet} holds {} TON on {}, and {} TON are needed (fees and the contract's rent reserve included): send at least {} TON there and run the command again",
            balance.to_ton_string(),
            self.network().name(),
            needed.to_ton_string(),
            needed.saturating_sub(balance).to_ton_string()
        );
        let contract = message.destination.friendly(self.network(), true);
        eprintln!(
            "sending {} TON from {wallet} to {contract}",
            message.value.to_ton_string()
        );
        self.pay(payer, message).await
    }

    /// The wallet's number: no two messages of one wallet carry the same, so each is told apart on the chain.
    async fn query_id(&self, payer: &Payer) -> Result<u64> {
        Ok(self.wallet(&payer.wallet.address()).await?.seqno.into())
    }

    async fn when(
        &self,
        address: &Address,
        what: &str,
        holds: impl Fn(&ChannelState) -> bool,
    ) -> Result<ChannelState> {
        until(what, async || {
            Ok(match self.state(address).await? {
                ChannelOnChain::Channel { state, .. } if holds(&state) => Some(state),
                _ => None,
            })
        })
        .await
    }
}

fn not_a_channel(at: &str, found: &ChannelOnChain) -> String {
    match found {
        ChannelOnChain::Frozen => format!("the contract at {at} is frozen: it owes rent to the chain"),
        ChannelOnChain::ForeignCode { .. } | ChannelOnChain::ForeignState => {
            format!("the contract at {at} is no payment channel: pay nothing to it")
        }
        ChannelOnChain::NotDeployed { .. } | ChannelOnChain::Channel { .. } => {
            format!("the contract at {at} is in an unexpected state")
        }
    }
}
