//! Runs one message on one account with the real executor.

use tycho_executor::{Executor, ExecutorInspector, ExecutorParams, ParsedConfig, TxError};
use tycho_types::cell::Lazy;
use tycho_types::models::{IntAddr, MsgInfo, OptionalAccount, ShardAccount, StdAddr};
use tycho_types::prelude::*;

/// The moment at which messages run: the same for every transaction of a block.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    params: ExecutorParams,
}

impl Moment {
    pub(super) fn new(utime: u32, block_lt: u64, rand_seed: HashBytes) -> Self {
        let params = ExecutorParams {
            block_unixtime: utime,
            block_lt,
            rand_seed,
            strict_extra_currency: true,
            ..ExecutorParams::default()
        };
        Self { params }
    }
}

/// What one message did.
pub(super) struct Executed {
    pub(super) transaction: Cell,
    pub(super) lt: u64,
    pub(super) next_lt: u64,
    pub(super) state: ShardAccount,
    /// False when the account ceased to exist.
    pub(super) exists: bool,
    /// Outgoing messages in the order of their logical times, those to the outside world included.
    pub(super) out: Vec<Cell>,
    /// Fees collected, in nanoTON, without the forwarding fee of the inbound message.
    pub(super) fees: u128,
    /// Value burned by the executor, in nanoTON.
    pub(super) burned: u128,
    /// Gas that the contract took.
    pub(super) gas: u64,
}

/// Why a message did not make a transaction.
#[derive(Debug)]
pub(super) enum Refused {
    /// An external message that the contract did not accept; the exit code when its code ran.
    NotAccepted(Option<i32>),
    /// The executor cannot process this message at all.
    Invalid(String),
}

/// Runs a message and commits its effects into new values; nothing is changed in place.
pub(super) fn execute(
    config: &ParsedConfig,
    moment: &Moment,
    state: &ShardAccount,
    address: &StdAddr,
    external: bool,
    message: &Cell,
    min_lt: u64,
) -> Result<Executed, Refused> {
    let mut inspector = ExecutorInspector::default();
    let executor = Executor::new(&moment.params, config).with_min_lt(min_lt);
    let uncommitted =
        match executor.begin_ordinary_ext(address, external, message.clone(), state, Some(&mut inspector)) {
            Ok(uncommitted) => uncommitted,
            Err(TxError::Skipped) => return Err(Refused::NotAccepted(inspector.exit_code)),
            Err(TxError::Fatal(error)) => return Err(Refused::Invalid(format!("{error:#}"))),
        };
    let output = uncommitted
        .commit()
        .map_err(|error| Refused::Invalid(format!("{error:#}")))?;
    Ok(Executed {
        transaction: output.transaction.inner().clone(),
        lt: output.new_state.last_trans_lt,
        next_lt: output.transaction_meta.next_lt,
        exists: output.new_state_meta.exists,
        state: output.new_state,
        out: output
            .transaction_meta
            .out_msgs
            .iter()
            .map(|message| message.inner().clone())
            .collect(),
        fees: output.transaction_meta.total_fees.into_inner(),
        burned: output.burned.into_inner(),
        gas: inspector.total_gas_used,
    })
}

/// Runs an external message up to the point where the contract accepts it, changing nothing.
pub(super) fn check(
    config: &ParsedConfig,
    moment: &Moment,
    state: &ShardAccount,
    address: &StdAddr,
    message: &Cell,
    min_lt: u64,
) -> Result<(), Refused> {
    let mut inspector = ExecutorInspector::default();
    let executor = Executor::new(&moment.params, config).with_min_lt(min_lt);
    match executor.check_ordinary_ext(address, message.clone(), state, Some(&mut inspector)) {
        Ok(()) => Ok(()),
        Err(TxError::Skipped) => Err(Refused::NotAccepted(inspector.exit_code)),
        Err(TxError::Fatal(error)) => Err(Refused::Invalid(format!("{error:#}"))),
    }
}

/// Where an inbound message goes, and whether it came from outside.
pub(super) fn destination(info: &MsgInfo) -> Option<(StdAddr, bool)> {
    let (address, external) = match info {
        MsgInfo::Int(info) => (&info.dst, false),
        MsgInfo::ExtIn(info) => (&info.dst, true),
        MsgInfo::ExtOut(_) => return None,
    };
    match address {
        IntAddr::Std(address) if address.anycast.is_none() => Some((address.clone(), external)),
        IntAddr::Std(_) | IntAddr::Var(_) => None,
    }
}

/// State of an account that has never been seen.
pub(super) fn absent() -> Result<ShardAccount, tycho_types::error::Error> {
    Ok(ShardAccount {
        account: Lazy::new(&OptionalAccount::EMPTY)?,
        last_trans_hash: HashBytes::ZERO,
        last_trans_lt: 0,
    })
}
