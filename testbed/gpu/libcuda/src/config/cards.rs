//! `TESTBED_CUDA_DEVICES`: cards with commas between them, each a preset with what differs from it.
//!
//! ```text
//! rtx-3090*2, rtx-4090:memory=8GiB:pcie=1x1:lost-after=100, cmp-90hx:name=Rig card
//! ```
//!
//! `*2` makes two of them. Keys: `name`, `memory` (bytes, or with `KiB`, `MiB`, `GiB`), `cc` (`8.6`), `sms`, `clock`
//! and `memory-clock` (MHz), `bus` (bits), `pcie` (generation `x` lanes), `ecc` (`on`, `off`), `uuid` (32 hexadecimal
//! digits, dashes allowed), and five ways to break: `lost-after` and `ecc-after` (launches), `lost-when` and `ecc-when`
//! (the path of a file: the card breaks when it appears), `skips` (a kernel's name: its launches do nothing, and
//! succeed).

use std::path::PathBuf;

use super::presets::{self, PRESETS};

/// Most cards that one machine has: CUDA itself stops at 64.
const MOST_CARDS: usize = 64;

/// One card as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Key of the preset that it began as; cost tables are found by it.
    pub preset: &'static str,
    /// What `cuDeviceGetName` gives.
    pub name: String,
    /// Sixteen bytes, the same in every process of the machine.
    pub uuid: [u8; 16],
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub sms: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Clock of the multiprocessors in MHz.
    pub clock_mhz: u32,
    /// Memory clock in MHz.
    pub memory_mhz: u32,
    /// Memory bus in bits.
    pub bus_bits: u32,
    /// Second-level cache in KiB.
    pub l2_kib: u32,
    /// Generation and lanes of its PCI Express link.
    pub pcie: (u32, u32),
    /// PCI bus number: the place among all cards of the machine, visible or not.
    pub bus: u32,
    /// Whether error correction is on.
    pub ecc: bool,
    /// When it falls off the bus.
    pub lost: Trigger,
    /// When it meets an uncorrectable memory error.
    pub ecc_error: Trigger,
    /// The kernel that it leaves out.
    pub skips: Option<String>,
}

/// GB/s of one lane of PCI Express by its generation, after encoding (PCI Express Base Specification: 2.5 and 5 GT/s
/// with 8b/10b, 8 to 32 GT/s with 128b/130b; 64 and 128 GT/s in flits).
const LANE: [f64; 7] = [0.25, 0.5, 0.985, 1.969, 3.938, 7.563, 15.125];

impl Card {
    /// Bandwidth of its memory in GB/s: two transfers a clock, a byte for eight bits.
    pub fn bandwidth(&self) -> f64 {
        f64::from(self.memory_mhz) * 2.0 * f64::from(self.bus_bits) / 8.0 / 1_000.0
    }

    /// Bandwidth of its link to the host in GB/s.
    pub fn link(&self) -> f64 {
        let (generation, lanes) = self.pcie;
        let place = (generation as usize).clamp(1, LANE.len()) - 1;
        LANE[place] * f64::from(lanes)
    }
}

/// When a card breaks; never, if both are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trigger {
    /// After that many launches have completed.
    pub after: Option<u64>,
    /// Once this file exists.
    pub when: Option<PathBuf>,
}

/// Reads the list.
///
/// # Errors
///
/// A sentence that names the card, the key and the value that are wrong.
pub fn parse(text: &str) -> Result<Vec<Card>, String> {
    let mut cards = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (head, changes) = entry.split_once(':').unwrap_or((entry, ""));
        let (key, count) = match head.split_once('*') {
            None => (head.trim(), 1),
            Some((key, count)) => {
                let count = count
                    .trim()
                    .parse::<usize>()
                    .ok()
                    .filter(|count| (1..=MOST_CARDS).contains(count));
                (
                    key.trim(),
                    count
                        .ok_or_else(|| format!("`{head}` wants a count from 1 to {MOST_CARDS} after `*`"))?,
                )
            }
        };
        if cards.len() + count > MOST_CARDS {
            return Err(format!("there are more than {MOST_CARDS} cards"));
        }
        for _ in 0..count {
            let mut card = preset(key, cards.len())?;
            for change in changes.split(':').filter(|change| !change.trim().is_empty()) {
                let (name, value) = change
                    .split_once('=')
                    .ok_or_else(|| format!("`{change}` of `{key}` is not written as key=value"))?;
                set(&mut card, name.trim(), value.trim())
                    .map_err(|wanted| format!("`{name}` of `{key}` is `{value}`, but must be {wanted}"))?;
            }
            cards.push(card);
        }
    }
    let mut uuids: Vec<_> = cards.iter().map(|card| card.uuid).collect();
    uuids.sort_unstable();
    if uuids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("two cards have the same uuid".into());
    }
    Ok(cards)
}

fn preset(key: &str, index: usize) -> Result<Card, String> {
    let preset = presets::find(key).ok_or_else(|| {
        let known: Vec<_> = PRESETS.iter().map(|preset| preset.key).collect();
        format!("there is no card `{key}`; known are {}", known.join(", "))
    })?;
    let bus = u32::try_from(index).unwrap_or(u32::MAX) + 1;
    Ok(Card {
        preset: preset.key,
        name: preset.name.to_owned(),
        uuid: uuid(preset.key, bus),
        capability: preset.capability,
        sms: preset.sms,
        memory: preset.memory_mib << 20,
        clock_mhz: preset.clock_mhz,
        memory_mhz: preset.memory_mhz,
        bus_bits: preset.bus_bits,
        l2_kib: preset.l2_kib,
        pcie: preset.pcie,
        bus,
        ecc: preset.ecc,
        lost: Trigger::default(),
        ecc_error: Trigger::default(),
        skips: None,
    })
}

/// Applies one `key=value`; the error says what the value must be.
fn set(card: &mut Card, key: &str, value: &str) -> Result<(), &'static str> {
    let number = || {
        value
            .parse::<u32>()
            .ok()
            .filter(|number| *number > 0)
            .ok_or("a positive number")
    };
    match key {
        "name" if value.len() < 256 && !value.contains('\0') => value.clone_into(&mut card.name),
        "name" => return Err("shorter than 256 bytes"),
        "memory" => {
            card.memory = bytes(value).ok_or("bytes, or a number with KiB, MiB or GiB, up to 1024 GiB")?;
        }
        "cc" => {
            card.capability = pair(value, '.')
                .filter(|(major, minor)| (3..=12).contains(major) && *minor < 10)
                .ok_or("a compute capability such as 8.6")?;
        }
        "sms" => card.sms = number()?,
        "clock" => card.clock_mhz = number().and_then(megahertz)?,
        "memory-clock" => card.memory_mhz = number().and_then(megahertz)?,
        "bus" => card.bus_bits = number()?,
        "pcie" => {
            card.pcie = pair(value, 'x')
                .filter(|(generation, lanes)| (1..=7).contains(generation) && (1..=32).contains(lanes))
                .ok_or("a generation and lanes such as 3x16")?;
        }
        "ecc" => {
            card.ecc = match value {
                "on" => true,
                "off" => false,
                _ => return Err("on or off"),
            };
        }
        "uuid" => card.uuid = hexadecimal(value).ok_or("32 hexadecimal digits")?,
        "lost-after" => card.lost.after = Some(value.parse().map_err(|_| "a number of launches")?),
        "ecc-after" => card.ecc_error.after = Some(value.parse().map_err(|_| "a number of launches")?),
        "lost-when" => card.lost.when = Some(value.into()),
        "ecc-when" => card.ecc_error.when = Some(value.into()),
        "skips" => card.skips = Some(value.to_owned()),
        _ => {
            return Err(
                "left out: no such key (name, memory, cc, sms, clock, memory-clock, bus, pcie, ecc, uuid, lost-after, lost-when, ecc-after, ecc-when, skips)",
            );
        }
    }
    Ok(())
}

fn megahertz(number: u32) -> Result<u32, &'static str> {
    // The API reports kHz in an int.
    if number <= 2_000_000 {
        Ok(number)
    } else {
        Err("a number of MHz")
    }
}

fn pair(text: &str, between: char) -> Option<(u32, u32)> {
    let (first, second) = text.split_once(between)?;
    Some((first.parse().ok()?, second.parse().ok()?))
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    let total = digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (1..=1 << 40).contains(&total).then_some(total)
}

/// Sixteen bytes from 32 hexadecimal digits; dashes and a leading `GPU-` do not count.
pub fn hexadecimal(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u32> = text
        .trim_start_matches("GPU-")
        .chars()
        .filter(|letter| *letter != '-')
        .map(|letter| letter.to_digit(16))
        .collect::<Option<_>>()?;
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::try_from(pair[0] * 16 + pair[1]).ok()?;
    }
    Some(uuid)
}

/// A number that is the same in every process: FNV-1a over the preset and the place on the bus.
fn uuid(preset: &str, bus: u32) -> [u8; 16] {
    let hash = |salt: u8| {
        let bytes = preset.bytes().chain(bus.to_le_bytes()).chain([salt]);
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&hash(1).to_be_bytes());
    uuid[8..].copy_from_slice(&hash(2).to_be_bytes());
    uuid
}

#[cfg(test)]
mod tests;
