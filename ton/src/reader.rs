//! Reads wallets, channels and messages through one endpoint.

use crate::channel::{self, StackError};
use crate::client::{
    Account, AccountState, ChainClient, ClientError, MAX_TRANSACTIONS_PER_PAGE, TransactionId,
};
use crate::transaction::Transaction;
use crate::wallet;
use crate::{Address, ChannelState};

pub use crate::on_chain::{ChannelOnChain, Found, WalletOnChain};

/// Pages that one search for a transaction reads.
///
/// A settlement redeems up to 255 channels, and each of them sends the claim to the wallet in a transaction of its
/// own; 64 pages of 32 transactions reach over eight full settlements that came after the one looked for.
pub const SEARCH_PAGES: usize = 64;

/// An answer, and the masterchain block that it is of or later than.
#[derive(Debug, Clone)]
pub(crate) struct Dated<T> {
    pub(crate) value: T,
    pub(crate) block_seqno: u32,
}

/// Reads wallets and channels through one endpoint.
#[derive(Debug, Clone)]
pub struct ChannelReader {
    client: ChainClient,
}

impl ChannelReader {
    /// Reads through `client`.
    pub fn new(client: ChainClient) -> Self {
        Self { client }
    }

    /// The endpoint behind it.
    pub fn client(&self) -> &ChainClient {
        &self.client
    }

    /// The channel at `address`.
    pub async fn state(&self, address: &Address) -> Result<ChannelOnChain, ClientError> {
        self.channel(address).await.map(|seen| seen.value)
    }

    /// The channel at `address`, with the block of the answer.
    pub(crate) async fn channel(&self, address: &Address) -> Result<Dated<ChannelOnChain>, ClientError> {
        let account = self.client.account(address).await?;
        let block_seqno = account.block_seqno;
        let value = self.channel_of(address, &account).await?;
        Ok(Dated { value, block_seqno })
    }

    async fn channel_of(&self, address: &Address, account: &Account) -> Result<ChannelOnChain, ClientError> {
        let balance = account.balance;
        let code_hash = match account.state {
            AccountState::Uninitialized => return Ok(ChannelOnChain::NotDeployed { balance }),
            AccountState::Frozen => return Ok(ChannelOnChain::Frozen),
            AccountState::Active { code_hash } => code_hash,
        };
        if code_hash != channel::code_hash() {
            return Ok(ChannelOnChain::ForeignCode { hash: code_hash });
        }
        let stack = self.getter(address, "channel_state").await?;
        let state = ChannelState::from_stack(&stack).map_err(bad_stack)?;
        if state.params.address() != *address {
            return Ok(ChannelOnChain::ForeignState);
        }
        Ok(ChannelOnChain::Channel {
            state,
            balance,
            block_seqno: account.block_seqno,
        })
    }

    /// The wallet v5r1 at `address`.
    pub async fn wallet(&self, address: &Address) -> Result<WalletOnChain, ClientError> {
        let account = self.client.account(address).await?;
        let (balance, block_seqno) = (account.balance, account.block_seqno);
        match account.state {
            AccountState::Uninitialized => Ok(WalletOnChain {
                balance,
                deployed: false,
                seqno: 0,
                block_seqno,
            }),
            AccountState::Active { code_hash } if code_hash == wallet::code_hash() => {
                let stack = self.getter(address, "seqno").await?;
                let seqno = stack
                    .first()
                    .and_then(channel::StackEntry::u64)
                    .and_then(|n| u32::try_from(n).ok());
                let seqno = seqno.ok_or_else(|| bad_stack(StackError { field: "seqno" }))?;
                Ok(WalletOnChain {
                    balance,
                    deployed: true,
                    seqno,
                    block_seqno,
                })
            }
            AccountState::Active { .. } | AccountState::Frozen => Err(ClientError::OtherContract {
                account: address.to_string(),
                expected: "working wallet v5r1",
            }),
        }
    }

    /// The seqno that the next transfer of the wallet at `address` must carry; 0 where it is not deployed.
    pub async fn wallet_seqno(&self, address: &Address) -> Result<u32, ClientError> {
        self.wallet(address).await.map(|wallet| wallet.seqno)
    }

    /// The transaction on `account` that the external message of this normalised hash caused, among those since
    /// the unix second `since`; none where there is none.
    ///
    /// Fails with [`ClientError::SearchLimit`] where [`SEARCH_PAGES`] pages do not reach back to `since`.
    pub async fn find_transaction_by_message_hash(
        &self,
        account: &Address,
        hash: &[u8; 32],
        since: u32,
    ) -> Result<Option<Transaction>, ClientError> {
        let found = self.find_message(account, hash, since).await?;
        Ok(found.map(|found| found.transaction))
    }

    /// As [`ChannelReader::find_transaction_by_message_hash`], with what happened on the account since.
    pub async fn find_message(
        &self,
        account: &Address,
        hash: &[u8; 32],
        since: u32,
    ) -> Result<Option<Found>, ClientError> {
        let is_it = |transaction: &Transaction| transaction.external_message_hash().as_ref() == Some(hash);
        self.find(account, since, is_it).await.map(|found| found.value)
    }

    /// The newest transaction of `account` since the unix second `since` that `is_it`, with what came after it.
    pub(crate) async fn find(
        &self,
        account: &Address,
        since: u32,
        is_it: impl Fn(&Transaction) -> bool,
    ) -> Result<Dated<Option<Found>>, ClientError> {
        let seen = self.client.account(account).await?;
        let dated = |value| Dated {
            value,
            block_seqno: seen.block_seqno,
        };
        let Some(mut from) = seen.last_transaction else {
            return Ok(dated(None));
        };
        let mut later = Vec::new();
        for _ in 0..SEARCH_PAGES {
            let page = self
                .client
                .transactions(account, Some(from), MAX_TRANSACTIONS_PER_PAGE)
                .await?;
            if page.is_empty() {
                return Err(ClientError::BadResponse {
                    method: "getTransactions",
                    what: "transaction asked for",
                });
            }
            for transaction in page {
                if transaction.now < since {
                    return Ok(dated(None));
                }
                if is_it(&transaction) {
                    return Ok(dated(Some(Found { transaction, later })));
                }
                from = TransactionId {
                    lt: transaction.previous_lt,
                    hash: transaction.previous_hash,
                };
                later.push(transaction);
            }
            if from.lt == 0 {
                return Ok(dated(None));
            }
        }
        Err(ClientError::SearchLimit {
            account: account.to_string(),
            searched: later.len(),
        })
    }

    async fn getter(
        &self,
        address: &Address,
        method: &'static str,
    ) -> Result<Vec<channel::StackEntry>, ClientError> {
        let result = self.client.run_get_method(address, method).await?;
        if !matches!(result.exit_code, 0 | 1) {
            let reason = format!(
                "getter {method} of {address} failed with exit code {}",
                result.exit_code
            );
            return Err(ClientError::Rejected {
                method: "runGetMethod",
                reason,
            });
        }
        Ok(result.stack)
    }
}

fn bad_stack(error: StackError) -> ClientError {
    ClientError::BadResponse {
        method: "runGetMethod",
        what: error.field,
    }
}
