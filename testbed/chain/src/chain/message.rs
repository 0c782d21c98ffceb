//! Builds and reads message cells.

use tycho_types::error::Error;
use tycho_types::models::{
    CurrencyCollection, ExtInMsgInfo, Message, MessageLayout, MsgInfo, OwnedMessage, OwnedRelaxedMessage,
    RelaxedIntMsgInfo, RelaxedMsgInfo, StateInit, StdAddr,
};
use tycho_types::num::Tokens;
use tycho_types::prelude::*;

/// An inbound external message with this body (and code for an account that has none).
///
/// # Errors
///
/// Fails if the parts do not fit a cell.
pub fn external(destination: &StdAddr, init: Option<StateInit>, body: Cell) -> Result<Cell, Error> {
    CellBuilder::build_from(OwnedMessage {
        info: MsgInfo::ExtIn(ExtInMsgInfo {
            src: None,
            dst: destination.clone().into(),
            import_fee: Tokens::ZERO,
        }),
        init,
        body: body.into(),
        layout: None,
    })
}

/// An internal message as a contract hands it to `SENDRAWMSG`: the network fills in source, fees and times.
///
/// # Errors
///
/// Fails if the parts do not fit a cell.
pub fn internal(
    destination: &StdAddr,
    nano: u128,
    bounce: bool,
    init: Option<StateInit>,
    body: Cell,
) -> Result<Cell, Error> {
    CellBuilder::build_from(OwnedRelaxedMessage {
        info: RelaxedMsgInfo::Int(RelaxedIntMsgInfo {
            bounce,
            dst: destination.clone().into(),
            value: CurrencyCollection::new(nano),
            ..RelaxedIntMsgInfo::default()
        }),
        init,
        body: body.into(),
        layout: None,
    })
}

/// The hash of an inbound external message in its normal form (TEP-467): no source, no import fee, no code, body in
/// a cell of its own. Messages that differ only in packing share it.
pub(super) fn normalized_external_hash(message: &Cell) -> Result<HashBytes, Error> {
    let parsed = message.parse::<Message<'_>>()?;
    let MsgInfo::ExtIn(info) = parsed.info else {
        return Err(Error::InvalidTag);
    };
    let normal = OwnedMessage {
        info: MsgInfo::ExtIn(ExtInMsgInfo {
            src: None,
            dst: info.dst,
            import_fee: Tokens::ZERO,
        }),
        init: None,
        body: CellBuilder::build_from(parsed.body)?.into(),
        layout: Some(MessageLayout {
            init_to_cell: false,
            body_to_cell: true,
        }),
    };
    Ok(*CellBuilder::build_from(normal)?.repr_hash())
}

/// Value and forwarding fee that an internal message carries, in nanoTON; zero for external messages.
pub(super) fn carried(message: &Cell) -> Result<Carried, Error> {
    Ok(match MsgInfo::load_from(&mut message.as_slice_allow_exotic())? {
        MsgInfo::Int(info) => Carried {
            value: info.value.tokens.into_inner(),
            forward_fee: info.fwd_fee.into_inner(),
        },
        MsgInfo::ExtIn(_) | MsgInfo::ExtOut(_) => Carried {
            value: 0,
            forward_fee: 0,
        },
    })
}

/// What travels with an internal message, in nanoTON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    /// Credited to the destination.
    pub(super) value: u128,
    /// Collected by the validators who deliver it.
    pub(super) forward_fee: u128,
}

impl Carried {
    pub(super) const fn total(self) -> u128 {
        self.value.saturating_add(self.forward_fee)
    }
}
