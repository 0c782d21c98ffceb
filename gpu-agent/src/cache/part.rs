//! A copy that is on its way: what has come of it, and its digest so far.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Cache, CacheError, Marker, io_error, remove};

/// Bytes that are read at a time of what has come before.
const CHUNK_BYTES: usize = 1 << 20;

/// How a server named the file of which a part has come: what it must still be for the part to be worth anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Validator {
    /// SHA-256 of the address that was asked, in hexadecimal: the address itself may hold a signature.
    pub address: String,
    /// A strong `ETag`, or the time of its last modification, as `If-Range` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bytes of the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl Validator {
    /// Reads a validator; none where the bytes are none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// A copy that is on its way. Whoever has one holds the lock of its digest.
#[derive(Debug)]
pub struct Part<'a> {
    cache: &'a Cache,
    sha256: [u8; 32],
    path: PathBuf,
    file: File,
    length: u64,
    hash: Sha256,
    _lock: File,
}

impl<'a> Part<'a> {
    /// Goes on with what has come; `lock` is that of the digest. What has come is read for the digest.
    ///
    /// # Errors
    /// The file cannot be made or read, or is somebody else's.
    pub fn open(cache: &'a Cache, sha256: [u8; 32], lock: File) -> Result<Self, CacheError> {
        let path = cache.file(&sha256, "part");
        let mut file = cache.create(&path)?;
        let mut hash = Sha256::new();
        let mut length = 0;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read(&mut chunk).map_err(|source| io_error(&path, source))?;
            if read == 0 {
                break;
            }
            hash.update(&chunk[..read]);
            length += read as u64;
        }
        Ok(Self {
            cache,
            sha256,
            path,
            file,
            length,
            hash,
            _lock: lock,
        })
    }

    /// Bytes that have come.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How the server named what has come; none where nothing has.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn validator(&self) -> Result<Option<Validator>, CacheError> {
        let note = self.cache.note(&self.cache.file(&self.sha256, "state"))?;
        Ok(note.and_then(|note| Validator::parse(&note)))
    }

    /// Keeps how the server names the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, validator: &Validator) -> Result<(), CacheError> {
        let text = serde_json::to_vec(validator).unwrap_or_default();
        self.cache
            .write_note(&self.cache.file(&self.sha256, "state"), &text)
    }

    /// Evicts other copies until `total` bytes, or as many as have come and `ahead` more, fit within `limit` and on the
    /// disk.
    ///
    /// # Errors
    /// They do not fit, or the folder cannot be written.
    pub fn make_room(&self, total: u64, limit: u64) -> Result<(), CacheError> {
        self.cache
            .make_room(&self.sha256, total, total.saturating_sub(self.length), limit)
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| io_error(&self.path, source))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Drops what has come.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn clear(&mut self) -> Result<(), CacheError> {
        let emptied = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| io_error(&self.path, source))?;
        self.length = 0;
        self.hash = Sha256::new();
        remove(&self.cache.file(&self.sha256, "state"))
    }

    /// Removes it.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn discard(self) -> Result<(), CacheError> {
        remove(&self.path)?;
        remove(&self.cache.file(&self.sha256, "state"))
    }

    /// SHA-256 of what has come.
    pub fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// Makes it the node's copy, where it has the digest: the file is on the disk before it has the copy's name, and
    /// has the name before its marker says that it was verified.
    ///
    /// # Errors
    /// A file cannot be written.
    ///
    /// # Panics
    /// It has another digest: that is to be asked before.
    pub fn publish(self) -> Result<(), CacheError> {
        assert_eq!(self.digest(), self.sha256, "only what was verified is a copy");
        let copy = self.cache.copy(&self.sha256);
        let placed = self
            .file
            .set_permissions(fs::Permissions::from_mode(0o644))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(&self.path, &copy))
            .and_then(|()| self.file.metadata());
        let marker = Marker::of(&placed.map_err(|source| io_error(&copy, source))?);
        self.cache
            .write_note(&self.cache.marker(&self.sha256), &marker.text())?;
        remove(&self.cache.file(&self.sha256, "state"))
    }
}

impl From<CacheError> for io::Error {
    fn from(error: CacheError) -> Self {
        Self::other(error)
    }
}
