//! The faucet: an ordinary account that holds the network's whole supply and pays whoever asks.
//!
//! Its contract accepts every external message, takes the message in the body's first reference and sends it with its
//! own balance paying the fees. It keeps no sequence number: a nonce in the body makes each request a message of its
//! own, and whoever replays one only asks the faucet again.

use tycho_types::cell::Lazy;
use tycho_types::error::Error;
use tycho_types::models::{
    Account, AccountState, CurrencyCollection, OptionalAccount, ShardAccount, StateInit, StdAddr,
    StorageInfo, StorageUsed,
};
use tycho_types::num::VarUint56;
use tycho_types::prelude::*;

use super::message;

/// Everything that this network ever issues: five billion TON, as mainnet's first supply, below the 2^63 nanoTON that
/// amounts of this workspace may reach.
pub const SUPPLY: u128 = 5_000_000_000_000_000_000;

/// The contract, one instruction a line. An external call starts with `balance value message body selector`.
const CODE: [u8; 8] = [
    0xDD, // IFNOTRET: a deposit (selector 0) is simply kept
    0xF8, 0x00, // ACCEPT
    0xD4, // LDREF: the message to send
    0x30, // DROP: the nonce
    0x71, // PUSHINT 1: pay fees from the balance, not from the amount
    0xFB, 0x00, // SENDRAWMSG
];

/// Code and data of the faucet.
fn state_init() -> Result<StateInit, Error> {
    let mut code = CellBuilder::new();
    code.store_raw(&CODE, 64)?;
    Ok(StateInit {
        code: Some(code.build()?),
        data: Some(Cell::default()),
        ..StateInit::default()
    })
}

/// The faucet's address.
pub(super) fn address() -> Result<StdAddr, Error> {
    Ok(StdAddr::new(
        0,
        *CellBuilder::build_from(state_init()?)?.repr_hash(),
    ))
}

/// The faucet's account at genesis, holding [`SUPPLY`].
pub(super) fn genesis(utime: u32) -> Result<ShardAccount, Error> {
    let mut account = Account {
        address: address()?.into(),
        storage_stat: StorageInfo {
            last_paid: utime,
            ..StorageInfo::default()
        },
        last_trans_lt: 0,
        balance: CurrencyCollection::new(SUPPLY),
        state: AccountState::Active(state_init()?),
    };
    account.storage_stat.used = storage_used(&account)?;
    Ok(ShardAccount {
        account: Lazy::new(&OptionalAccount(Some(account)))?,
        last_trans_hash: HashBytes::ZERO,
        last_trans_lt: 0,
    })
}

/// Cells and bits that the account's storage occupies, as the executor counts them.
fn storage_used(account: &Account) -> Result<StorageUsed, Error> {
    let mut storage = CellBuilder::new();
    storage.store_u64(account.last_trans_lt)?;
    account.balance.store_into(&mut storage, Cell::empty_context())?;
    account.state.store_into(&mut storage, Cell::empty_context())?;
    let stats = storage
        .build()?
        .compute_unique_stats(usize::MAX)
        .ok_or(Error::IntOverflow)?;
    Ok(StorageUsed {
        cells: VarUint56::new(stats.cell_count),
        bits: VarUint56::new(stats.bit_count),
    })
}

/// The external message that makes the faucet pay. Not bounceable, so that it creates accounts.
pub(super) fn request(destination: &StdAddr, nano: u128, nonce: u64) -> Result<Cell, Error> {
    let payment = message::internal(destination, nano, false, None, Cell::default())?;
    let mut body = CellBuilder::new();
    body.store_u64(nonce)?;
    body.store_reference(payment)?;
    message::external(&address()?, None, body.build()?)
}
