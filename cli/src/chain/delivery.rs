//! From a payment to its arrival: one signed message, broadcast until its fate is known.
//!
//! Acceptance by an endpoint or by the wallet proves nothing. A payment is made when the receiver's own transaction
//! for it succeeded.

use anyhow::{Context as _, Result, bail};
use cocoon_ton::{
    Address, ClientError, SignedMessage, cell_hash,
    channel::exit_code,
    client::{MAX_TRANSACTIONS_PER_PAGE, TransactionId},
    message::{InternalMessage, MessageInfo},
    reader::SEARCH_PAGES,
    transaction::{Payment, Transaction},
    wallet::SendMode,
};

use super::{Chain, VALIDITY_SECONDS, until};
use crate::payer::Payer;

/// Looks between two broadcasts of the same bytes: 5 s, for an endpoint that dropped them.
const LOOKS_PER_BROADCAST: u32 = 10;

/// Signatures for one payment at most. A second one is made only after the first message expired unused; when two expire
/// in a row, the endpoint does not pass messages on.
const MAX_SIGNATURES: u32 = 2;

/// Seconds of chain time after which an expired message is given up: parts of one endpoint lag behind one another, and
/// the one that answers about the wallet must have seen the message's last second.
pub(super) const EXPIRY_MARGIN_SECONDS: u32 = 15;

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
        let seqno = self.reader.wallet_seqno(&wallet).await?;
        for _ in 0..MAX_SIGNATURES {
            let signed = self.sign(payer, seqno, message).await?;
            if !self.outbox.store(&self.network, &signed)? {
                bail!("another command is paying from wallet {wallet}: wait for it and run this one again");
            }
            match self.fate(&signed).await? {
                Fate::Taken(transaction) => {
                    let outcome = self.arrivals(&wallet, &transaction).await?;
                    self.outbox.remove(&self.network, &wallet)?;
                    return outcome.into_result();
                }
                Fate::Expired => {
                    self.outbox.remove(&self.network, &wallet)?;
                    eprintln!("the message expired unused, signing another one");
                }
                Fate::Superseded => {
                    self.outbox.remove(&self.network, &wallet)?;
                    bail!(
                        "wallet {wallet} made another payment at the same time and this one was not made: run the command again"
                    );
                }
            }
        }
        bail!(
            "{MAX_SIGNATURES} messages expired and wallet {wallet} took none: {} does not pass messages on, try another endpoint",
            self.reader.client().endpoint()
        )
    }

    /// Finishes what an interrupted run left under way, and answers what it paid.
    pub async fn finish_earlier(&self, payer: &Payer) -> Result<Vec<Payment>> {
        let wallet = payer.wallet.address();
        let Some(signed) = self.outbox.load(&self.network, &wallet)? else {
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
        self.outbox.remove(&self.network, &wallet)?;
        Ok(paid)
    }

    async fn sign(&self, payer: &Payer, seqno: u32, message: &InternalMessage) -> Result<SignedMessage> {
        let valid_until = self
            .time()
            .await?
            .checked_add(VALIDITY_SECONDS)
            .context("the chain's time is out of range")?;
        let transfer =
            payer
                .wallet
                .transfer(seqno, valid_until, &[(SendMode::ExactValue, message.clone())])?;
        Ok(transfer.sign(&payer.key)?)
    }

    /// Broadcasts these bytes, and no others, until the wallet took them or cannot any more.
    async fn fate(&self, signed: &SignedMessage) -> Result<Fate> {
        let since = signed.valid_until.saturating_sub(VALIDITY_SECONDS);
        let mut looks = 0;
        let mut refusal = None;
        until("the wallet takes the signed message", async || {
            // Time first: what it says to be over is over in everything that is read after it.
            let time = self.reader.client().head().await?.time;
            let seqno = self.reader.wallet_seqno(&signed.destination).await?;
            let found = self
                .reader
                .find_transaction_by_message_hash(&signed.destination, &signed.hash, since)
                .await?;
            if let Some(transaction) = found {
                return Ok(Some(Fate::Taken(Box::new(transaction))));
            }
            if time > signed.valid_until.saturating_add(EXPIRY_MARGIN_SECONDS) {
                return Ok(Some(if seqno > signed.seqno {
                    Fate::Superseded
                } else {
                    Fate::Expired
                }));
            }
            if looks % LOOKS_PER_BROADCAST == 0 {
                self.broadcast(signed, &mut refusal).await?;
            }
            looks += 1;
            Ok(None)
        })
        .await
    }

    /// A refusal says little: an endpoint that lags refuses good messages, and one that took a copy refuses the next.
    async fn broadcast(&self, signed: &SignedMessage, last: &mut Option<String>) -> Result<(), ClientError> {
        match self.reader.client().send_boc(&signed.boc).await {
            Err(ClientError::Rejected { reason, .. }) => {
                if last.as_ref() != Some(&reason) {
                    eprintln!("the endpoint refuses the message for now: {reason}");
                }
                *last = Some(reason);
                Ok(())
            }
            other => other,
        }
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
    ) -> Result<Option<Transaction>, ClientError> {
        let mut from: Option<TransactionId> = None;
        for _ in 0..SEARCH_PAGES {
            let page = self
                .reader
                .client()
                .transactions(&payment.destination, from, MAX_TRANSACTIONS_PER_PAGE)
                .await?;
            let Some(last) = page.last() else { return Ok(None) };
            let next = TransactionId {
                lt: last.previous_lt,
                hash: last.previous_hash,
            };
            for transaction in page {
                if transaction.now < since {
                    return Ok(None);
                }
                if is_arrival(&transaction, wallet, payment) {
                    return Ok(Some(transaction));
                }
            }
            if next.lt == 0 {
                return Ok(None);
            }
            from = Some(next);
        }
        Ok(None)
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

fn is_arrival(transaction: &Transaction, wallet: &Address, payment: &Payment) -> bool {
    let Some(message) = &transaction.in_message else {
        return false;
    };
    let MessageInfo::Internal { source, .. } = message.info else {
        return false;
    };
    source.as_ref() == Some(wallet)
        && matches!((cell_hash(&message.body), cell_hash(&payment.body)), (Ok(a), Ok(b)) if a == b)
}
