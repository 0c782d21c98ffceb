//! What the contract reserves and holds channels to; `contracts/fees.tolk`.

use cocoon_api::NanoTon;

/// Stays in the channel for its storage and is never paid out; `RENT_RESERVE` in `contracts/fees.tolk`.
pub const RENT_RESERVE: NanoTon = nano(20_000_000);

/// Smallest step of one redeem; `MIN_STEP` in `contracts/fees.tolk`.
pub const MIN_STEP: NanoTon = nano(1_000);

/// Shortest challenge window, in seconds; `MIN_CHALLENGE` in `contracts/fees.tolk`.
pub const MIN_CHALLENGE: u32 = 60;

/// Longest challenge window, in seconds; `MAX_CHALLENGE` in `contracts/fees.tolk`.
pub const MAX_CHALLENGE: u32 = 30 * 86_400;

/// A constant amount of nanoTON.
pub(super) const fn nano(value: u64) -> NanoTon {
    match NanoTon::from_nano(value) {
        Ok(amount) => amount,
        Err(_) => panic!("a constant amount is out of range"),
    }
}
