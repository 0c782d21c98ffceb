//! From a payment to its arrival: one signed message, broadcast until its fate is known.
//!
//! Acceptance by an endpoint or by the wallet proves nothing. A payment is made when the receiver's own transaction
//! for it succeeded.

use anyhow::{Context as _, Result, bail};
use cocoon_ton::{
    Address, QuorumError, SignedMessage, cell_hash,
    channel::exit_code,
    message::InternalMessage,
    sender::{Look, Pending, Unconfirmed, VALID_SECONDS, Verdict},
    transaction::{Payment, Transaction},
    wallet::SendMode,
};

use super::{Chain, clock, until};
use crate::payer::Payer;

/// Signatures for one payment at most. A second one is made only after the first message expired unused; when two
/// expire in a row, the endpoints do not pass messages on.
const MAX_SIGNATURES: u32 = 2;

/// What became of a signed message.
enum Fate {
    /// The wallet took it in this transaction.
    Taken(Box<Transaction>),
    /// Its time is over and the wallet never took it.
    Expired,
    /// The wallet took another message with its number.
    Superseded,
}

impl Chain {
    /// Makes one payment from the payer's wallet and waits until the receiver has taken it. Call
    /// [`Chain::finish_earlier`] before deciding on a payment.
    pub async fn pay(&self, payer: &Payer, message: &InternalMessage) -> Result<()> {
        let wallet = payer.wallet.address();
        // One number for all signatures: the wallet takes at most one of them, whatever the endpoint says.
        let seqno = self.wallet(&wallet).await?.seqno;
        for _ in 0..MAX_SIGNATURES {
            let signed = self.sign(payer, seqno, message).await?;
            if !self.outbox.store(self.network(), &signed)? {
                bail!("another command is paying from wallet {wallet}: wait for it and run this one again");
            }
            match self.fate(&signed).await? {
                Fate::Taken(transaction) => {
                    let outcome = self.arrivals(&wallet, &transaction).await?;
                    self.outbox.remove(self.network(), &wallet)?;
                    return outcome.into_result();
                }
                Fate::Expired => {
                    self.outbox.remove(self.network(), &wallet)?;
                    eprintln!("the message expired unused, signing another one");
                }
                Fate::Superseded => {
                    self.outbox.remove(self.network(), &wallet)?;
                    bail!(
                        "wallet {wallet} made another payment at the same time and this one was not made: run the command again"
                    );
                }
            }
        }
        bail!(
            "{MAX_SIGNATURES} messages expired and wallet {wallet} took none: no endpoint passes messages on, try others"
        )
    }

    /// Finishes what an interrupted run left under way, and answers what it paid.
    pub async fn finish_earlier(&self, payer: &Payer) -> Result<Vec<Payment>> {
        let wallet = payer.wallet.address();
        let Some(signed) = self.outbox.load(self.network(), &wallet)? else {
            return Ok(Vec::new());
        };
        eprintln!("finishing a payment that an earlier run began");
        let paid = match self.fate(&signed).await? {
            Fate::Taken(transaction) => match self.arrivals(&wallet, &transaction).await? {
                Arrivals::All(payments) => payments,
                Arrivals::Refused(why) => {
                    eprintln!("the earlier payment came back: {why}");
                    Vec::new()
                }
            },
            Fate::Expired | Fate::Superseded => Vec::new(),
        };
        self.outbox.remove(self.network(), &wallet)?;
        Ok(paid)
    }

    async fn sign(&self, payer: &Payer, seqno: u32, message: &InternalMessage) -> Result<SignedMessage> {
        let valid_until = self
            .time()
            .await?
            .checked_add(VALID_SECONDS)
            .context("the chain's time is out of range")?;
        let transfer =
            payer
                .wallet
                .transfer(seqno, valid_until, &[(SendMode::ExactValue, message.clone())])?;
        Ok(transfer.sign(&payer.key)?)
    }

    /// Broadcasts these bytes, and no others, until the wallet took them or cannot any more.
    async fn fate(&self, signed: &SignedMessage) -> Result<Fate> {
        let since = signed.valid_until.saturating_sub(VALID_SECONDS);
        let mut message = Unconfirmed {
            seqno: signed.seqno,
            valid_until: signed.valid_until,
            sent_at: None,
        };
        let mut refusal = None;
        until("the wallet takes the signed message", async || {
            // Time first: what it says to be over is over in everything that is read after it.
            let chain_time = self.time().await?;
            let seqno = self.wallet(&signed.destination).await?.seqno;
            let found = self
                .quorum
                .find_message(&signed.destination, &signed.hash, since)
                .await?;
            if let Some(found) = self.told(found) {
                return Ok(Some(Fate::Taken(Box::new(found.transaction))));
            }
            let look = Look {
                chain_time,
                seqno,
                clock: clock(),
            };
            Ok(match message.judge(&look) {
                Verdict::Send => {
                    message.sent_at = Some(look.clock);
                    self.broadcast(signed, &mut refusal).await;
                    None
                }
                Verdict::Wait(Pending::Lag | Pending::Block | Pending::Transaction | Pending::Expiry) => None,
                Verdict::Expired => Some(Fate::Expired),
                Verdict::Superseded => Some(Fate::Superseded),
            })
        })
        .await
    }

    /// A refusal says little: an endpoint that lags refuses good messages, and one that took a copy refuses the next.
    async fn broadcast(&self, signed: &SignedMessage, last: &mut Option<String>) {
        let Err(error) = self.quorum.send(&signed.boc).await else {
            return;
        };
        let reason = error.to_string();
        if last.as_ref() != Some(&reason) {
            eprintln!("the message is not taken for now: {reason}");
        }
        *last = Some(reason);
    }

    /// Waits until the receivers of everything that the wallet's transaction sent have taken it.
    async fn arrivals(&self, wallet: &Address, transaction: &Transaction) -> Result<Arrivals> {
        let payments = transaction.payments();
        if payments.is_empty() {
            return Ok(Arrivals::Refused(format!(
                "wallet {wallet} holds too little and paid nothing"
            )));
        }
        for payment in &payments {
            let what = format!("{} takes the payment", payment.destination);
            let arrival = until(&what, async || {
                self.arrival(wallet, payment, transaction.now).await
            })
            .await?;
            if !arrival.succeeded() {
                let code = arrival.exit_code().unwrap_or_default();
                let why = format!(
                    "{} refused it with exit code {code}: {}",
                    payment.destination,
                    exit_code::describe(code)
                );
                return Ok(Arrivals::Refused(why));
            }
        }
        Ok(Arrivals::All(payments))
    }

    /// The receiver's transaction for a payment. A wallet's number is part of each body, so no two are alike.
    async fn arrival(
        &self,
        wallet: &Address,
        payment: &Payment,
        since: u32,
    ) -> Result<Option<Transaction>, QuorumError> {
        // A body that the wallet sent has a hash; what had none could not be looked for, and is never found.
        let Ok(body) = cell_hash(&payment.body) else {
            return Ok(None);
        };
        let found = self
            .quorum
            .find_arrival(&payment.destination, wallet, body, since)
            .await?;
        Ok(self.told(found).map(|found| found.transaction))
    }
}

/// Whether a wallet's payments were taken.
enum Arrivals {
    All(Vec<Payment>),
    Refused(String),
}

impl Arrivals {
    fn into_result(self) -> Result<()> {
        match self {
            Self::All(_) => Ok(()),
            Self::Refused(why) => bail!("the payment was not made, its value came back less fees: {why}"),
        }
    }
}
