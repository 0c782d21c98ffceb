//! A file of which the digest is wanted and the head alone is kept.

use std::{fs::File, io::Write as _};

use cocoon_api::agent::FetchFault;
use sha2::{Digest as _, Sha256};

use super::{FetchError, Sink};

/// Bytes that are kept: headers of model files have ten or twenty megabytes, most of them the vocabulary.
const HEAD_BYTES: u64 = 1 << 28;

/// Takes a file of any size, and keeps its head in a file of the same length, whose rest takes no place on the disk.
#[derive(Debug)]
pub struct Head {
    file: File,
    length: u64,
    name: Option<String>,
    total: Option<u64>,
    hash: Sha256,
}

impl Head {
    /// Keeps the head in `file`, which is empty.
    pub fn new(file: File) -> Self {
        Self {
            file,
            length: 0,
            name: None,
            total: None,
            hash: Sha256::new(),
        }
    }

    /// Gives the file its length; answers the digest of the whole.
    ///
    /// # Errors
    /// The file's length cannot be set.
    pub fn finish(self) -> std::io::Result<[u8; 32]> {
        self.file.set_len(self.length)?;
        Ok(self.hash.finalize().into())
    }
}

impl Sink for Head {
    fn length(&self) -> u64 {
        self.length
    }

    fn known(&self) -> (Option<String>, Option<u64>) {
        (self.name.clone(), self.total)
    }

    fn expect(&mut self, total: Option<u64>, name: Option<String>) -> Result<(), FetchError> {
        (self.name, self.total) = (name, total);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let room = usize::try_from(HEAD_BYTES.saturating_sub(self.length)).unwrap_or(usize::MAX);
        let kept = self.file.write_all(&bytes[..bytes.len().min(room)]);
        kept.map_err(|error| {
            FetchError::new(
                FetchFault::DiskFull,
                format!("cannot keep the file's head: {error}"),
            )
        })?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), FetchError> {
        use std::io::Seek as _;
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.map_err(|error| {
            FetchError::new(
                FetchFault::DiskFull,
                format!("cannot clear the file's head: {error}"),
            )
        })?;
        (self.length, self.name, self.total) = (0, None, None);
        self.hash = Sha256::new();
        Ok(())
    }
}
