//! Account addresses: raw (`0:<64 hex digits>`) and user-friendly (48 base64 characters with flags and checksum).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::Network;

const FRIENDLY_CHARS: usize = 48;
const FRIENDLY_BYTES: usize = 36;
const TAG_BOUNCEABLE: u8 = 0x11;
const TAG_NON_BOUNCEABLE: u8 = 0x51;
const FLAG_TEST_ONLY: u8 = 0x80;

/// The address of one account: workchain and 256-bit account id. Serialised in raw form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// 0 for the basechain, -1 for the masterchain.
    pub workchain: i8,
    /// Hash of the account's initial state.
    pub account: [u8; 32],
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `workchain:hex` nor 48 base64 characters.
    #[error("address must be 0:<64 hex digits> or 48 base64 characters")]
    Form,
    /// The checksum of the user-friendly form does not match: a mistyped address.
    #[error("address has a wrong checksum, so it is mistyped")]
    Checksum,
    /// The first byte of the user-friendly form is no known flag.
    #[error("address has an unknown tag byte {0:#04x}")]
    Tag(u8),
    /// The test-only flag is set, yet the network is mainnet.
    #[error("address is marked test-only and cannot be used on mainnet")]
    TestOnly,
}

impl Address {
    /// Parses either form for use on `network`: a test-only address is refused on mainnet.
    pub fn parse_for(network: &Network, text: &str) -> Result<Self, AddressError> {
        let (address, test_only) = parse(text)?;
        if test_only && network.is_mainnet() {
            return Err(AddressError::TestOnly);
        }
        Ok(address)
    }

    /// The user-friendly form for `network`. Wallets are written non-bounceable, contracts bounceable.
    pub fn friendly(&self, network: &Network, bounceable: bool) -> String {
        let tag = if bounceable {
            TAG_BOUNCEABLE
        } else {
            TAG_NON_BOUNCEABLE
        };
        let mut bytes = [0u8; FRIENDLY_BYTES];
        bytes[0] = if network.is_mainnet() {
            tag
        } else {
            tag | FLAG_TEST_ONLY
        };
        bytes[1] = self.workchain.to_be_bytes()[0];
        bytes[2..34].copy_from_slice(&self.account);
        let checksum = crc16(&bytes[..34]);
        bytes[34..].copy_from_slice(&checksum.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// The address and whether it carries the test-only flag.
fn parse(text: &str) -> Result<(Address, bool), AddressError> {
    if let Some((workchain, account)) = text.split_once(':') {
        let workchain: i8 = workchain.parse().map_err(|_| AddressError::Form)?;
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(account, &mut bytes).map_err(|_| AddressError::Form)?;
        return Ok((
            Address {
                workchain,
                account: bytes,
            },
            false,
        ));
    }
    if text.len() != FRIENDLY_CHARS {
        return Err(AddressError::Form);
    }
    let decoded = URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD.decode(text))
        .map_err(|_| AddressError::Form)?;
    let bytes: [u8; FRIENDLY_BYTES] = decoded.try_into().map_err(|_| AddressError::Form)?;
    if crc16(&bytes[..34]) != u16::from_be_bytes([bytes[34], bytes[35]]) {
        return Err(AddressError::Checksum);
    }
    let tag = bytes[0] & !FLAG_TEST_ONLY;
    if tag != TAG_BOUNCEABLE && tag != TAG_NON_BOUNCEABLE {
        return Err(AddressError::Tag(bytes[0]));
    }
    let mut account = [0u8; 32];
    account.copy_from_slice(&bytes[2..34]);
    Ok((
        Address {
            workchain: i8::from_be_bytes([bytes[1]]),
            account,
        },
        bytes[0] & FLAG_TEST_ONLY != 0,
    ))
}

/// CRC-16/XMODEM: polynomial 0x1021, no reflection, no initial value.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map(|(address, _)| address)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// The raw form.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.workchain, hex::encode(self.account))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
