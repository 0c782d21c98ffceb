//! Copies and fills: the work that streams and graphs hold, as data.

use std::sync::Arc;

use crate::abi::host;
use crate::device::Device;
use crate::error::{Code, Result};
use crate::log;

/// Bytes that pass from host to card at a time: large enough that the loop costs nothing, small enough for the cache.
const CHUNK: usize = 1 << 18;

/// Where bytes lie.
#[derive(Clone, Debug)]
pub enum Place {
    /// On the host, at this address.
    Host(usize),
    /// In a card's memory, at this address.
    Device(Arc<Device>, u64),
    /// In a copy of the host's bytes, made when the work was submitted.
    Staged(Arc<[u8]>, usize),
}

impl Place {
    fn plus(&self, offset: usize) -> Self {
        match self {
            Self::Host(address) => Self::Host(address.wrapping_add(offset)),
            Self::Device(device, address) => {
                Self::Device(Arc::clone(device), address.wrapping_add(offset as u64))
            }
            Self::Staged(bytes, start) => Self::Staged(Arc::clone(bytes), start + offset),
        }
    }

    /// The card whose memory it is.
    fn device(&self) -> Option<&Arc<Device>> {
        match self {
            Self::Device(device, _) => Some(device),
            Self::Host(_) | Self::Staged(..) => None,
        }
    }
}

/// A copy of `rows` rows of `width` bytes, which lie a pitch apart.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Where to.
    pub to: Place,
    /// Where from.
    pub from: Place,
    /// Bytes of a row.
    pub width: usize,
    /// Rows.
    pub rows: usize,
    /// Bytes from one row's start to the next one's, where to.
    pub to_pitch: usize,
    /// The same, where from.
    pub from_pitch: usize,
}

impl Copy {
    /// A copy of bytes that lie together.
    pub fn linear(to: Place, from: Place, bytes: usize) -> Self {
        Self {
            to,
            from,
            width: bytes,
            rows: 1,
            to_pitch: bytes,
            from_pitch: bytes,
        }
    }

    /// Copies.
    pub fn run(&self) -> Result<()> {
        for row in 0..self.rows {
            let (to, from) = (
                self.to.plus(row * self.to_pitch),
                self.from.plus(row * self.from_pitch),
            );
            move_bytes(&to, &from, self.width).map_err(failed)?;
        }
        self.take_time();
        Ok(())
    }

    /// Lets the clocks of the cards that took part go on: a copy within a card reads and writes, any other crosses
    /// links.
    fn take_time(&self) {
        let bytes = (self.width * self.rows) as u64;
        match (self.to.device(), self.from.device()) {
            (Some(to), Some(from)) if Arc::ptr_eq(to, from) => {
                to.clock.moved(2 * bytes, to.card.bandwidth());
            }
            (to, from) => {
                let devices = || to.iter().chain(&from);
                let link = devices()
                    .map(|device| device.card.link())
                    .fold(f64::MAX, f64::min);
                for device in devices() {
                    device.clock.moved(bytes, link);
                }
            }
        }
    }

    /// The same copy with the host's bytes taken along now, for work that waits while its source may change.
    pub fn staged(&self) -> Self {
        let Place::Host(address) = self.from else {
            return self.clone();
        };
        let bytes = if self.rows == 0 {
            0
        } else {
            (self.rows - 1) * self.from_pitch + self.width
        };
        let mut copy = vec![0; bytes];
        host::read(address, &mut copy);
        Self {
            from: Place::Staged(copy.into(), 0),
            ..self.clone()
        }
    }
}

/// A fill of `rows` rows of `width` values of 1, 2 or 4 bytes.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Where.
    pub to: Place,
    /// One value, in its bytes.
    pub value: Vec<u8>,
    /// Values of a row.
    pub width: usize,
    /// Rows.
    pub rows: usize,
    /// Bytes from one row's start to the next one's.
    pub pitch: usize,
}

impl Fill {
    /// Fills.
    pub fn run(&self) -> Result<()> {
        for row in 0..self.rows {
            match self.to.plus(row * self.pitch) {
                Place::Device(device, address) => {
                    device
                        .memory
                        .fill(address, &self.value, self.width as u64)
                        .map_err(failed)?;
                }
                Place::Host(address) => {
                    let bytes: Vec<u8> = self
                        .value
                        .iter()
                        .copied()
                        .cycle()
                        .take(self.width * self.value.len())
                        .collect();
                    host::write(address, &bytes);
                }
                Place::Staged(..) => return Err(Code::INVALID_VALUE),
            }
        }
        Ok(())
    }
}

/// The range was checked when the work was submitted, so it was freed before the work ran.
fn failed(problem: testbed_ptx::AccessError) -> Code {
    log::refuse(
        Code::ILLEGAL_ADDRESS,
        &format!("a copy or fill met memory that is gone: {problem}"),
    )
}

fn move_bytes(to: &Place, from: &Place, bytes: usize) -> std::result::Result<(), testbed_ptx::AccessError> {
    match (to, from) {
        (Place::Host(to), Place::Host(from)) => host::copy(*to, *from, bytes),
        (Place::Host(to), Place::Staged(from, start)) => host::write(*to, &from[*start..start + bytes]),
        (Place::Device(to, to_address), Place::Staged(from, start)) => {
            to.memory.write(*to_address, &from[*start..start + bytes])?;
        }
        (Place::Device(to, to_address), Place::Device(from, from_address)) if Arc::ptr_eq(to, from) => {
            to.memory.copy(*to_address, *from_address, bytes as u64)?;
        }
        _ => {
            let mut buffer = vec![0; bytes.min(CHUNK)];
            let mut done = 0;
            while done < bytes {
                let piece = &mut buffer[..(bytes - done).min(CHUNK)];
                match from.plus(done) {
                    Place::Host(address) => host::read(address, piece),
                    Place::Device(device, address) => device.memory.read(address, piece)?,
                    Place::Staged(from, start) => piece.copy_from_slice(&from[start..start + piece.len()]),
                }
                match to.plus(done) {
                    Place::Host(address) => host::write(address, piece),
                    Place::Device(device, address) => device.memory.write(address, piece)?,
                    Place::Staged(..) => {}
                }
                done += piece.len();
            }
        }
    }
    Ok(())
}
