//! A node's copies of models: a folder with one file for each digest, which only downloads write.
//!
//! ```text
//! <sha256>.gguf     a copy that was verified, renamed into place when it was whole
//! <sha256>.json     its marker: what the file looked like when it was verified; changed last when it was last used
//! <sha256>.part     what has come of a copy
//! <sha256>.state    how the server named what has come
//! <sha256>.lock     held while a copy is downloaded
//! room.lock         held while room is made
//! ```
//!
//! A copy is verified once. Whoever starts from it believes the marker only where folder, copy and marker belong to the
//! owner that is expected, nobody else may write them, and the copy is the very file that the marker describes, down to
//! the time of its last change, which no program can set back.

mod marker;
pub mod part;
mod room;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

pub use marker::Marker;

/// Owner of a node's copies: root, as which downloads run and agents do not.
pub const ROOT: u32 = 0;
/// Bits of a mode with which somebody else may write.
const OTHERS_WRITE: u32 = 0o022;
/// Bytes of a file of ours that is no model: a marker or a state has a few hundred.
const MAX_NOTE_BYTES: u64 = 4096;

/// Why a folder of models cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else owns it, or may write it.
    #[error("{} is not only user {owner}'s to write, or is no plain {kind}", path.display())]
    Foreign {
        /// Folder or file.
        path: PathBuf,
        /// `folder` or `file`.
        kind: &'static str,
        /// Who must own it.
        owner: u32,
    },
    /// The copies that are in use, and the one that is wanted, are more than all may take.
    #[error("{wanted} bytes do not fit beside {held} bytes that are in use, where {limit} are allowed")]
    NoRoom {
        /// Bytes of the file.
        wanted: u64,
        /// Bytes of copies that cannot be evicted.
        held: u64,
        /// Bytes that all may take.
        limit: u64,
    },
    /// The disk has no room for it.
    #[error("{wanted} bytes do not fit on the disk, where {free} are free")]
    DiskFull {
        /// Bytes that are still to be written.
        wanted: u64,
        /// Bytes that are free.
        free: u64,
    },
}

/// The folder of a node's copies.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    owner: u32,
}

impl Cache {
    /// Opens the folder, which must be `owner`'s.
    ///
    /// # Errors
    /// It is not there, is somebody else's, or somebody else may write it.
    pub fn open(folder: &Path, owner: u32) -> Result<Self, CacheError> {
        let found = fs::symlink_metadata(folder).map_err(|source| io_error(folder, source))?;
        if !found.is_dir() || found.uid() != owner || found.mode() & OTHERS_WRITE != 0 {
            return Err(CacheError::Foreign {
                path: folder.to_owned(),
                kind: "folder",
                owner,
            });
        }
        Ok(Self {
            folder: folder.to_owned(),
            owner,
        })
    }

    /// The copy of this digest, where it is there and was verified.
    ///
    /// # Errors
    /// The folder cannot be read. A copy or a marker that somebody else wrote is as good as none.
    pub fn find(&self, sha256: &[u8; 32]) -> Result<Option<PathBuf>, CacheError> {
        let (copy, marker) = (self.copy(sha256), self.marker(sha256));
        let Some(note) = self.note(&marker)? else {
            return Ok(None);
        };
        let file = match self.open_own(&copy, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(CacheError::Foreign { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = file.metadata().map_err(|source| io_error(&copy, source))?;
        Ok(Marker::parse(&note)
            .is_some_and(|marker| marker == Marker::of(&found))
            .then_some(copy))
    }

    /// Notes that the copy is used: those that were not used for longest are evicted first.
    ///
    /// # Errors
    /// The marker cannot be written.
    pub fn touch(&self, sha256: &[u8; 32], now: SystemTime) -> Result<(), CacheError> {
        let path = self.marker(sha256);
        let file = self.open_own(&path, OpenOptions::new().write(true))?;
        file.set_modified(now).map_err(|source| io_error(&path, source))
    }

    /// Waits until no other download of this digest runs on the node. The next one waits until what is answered is
    /// dropped.
    ///
    /// # Errors
    /// The lock's file cannot be made or locked.
    pub fn lock(&self, sha256: &[u8; 32]) -> Result<File, CacheError> {
        let path = self.file(sha256, "lock");
        let file = self.create(&path)?;
        file.lock().map_err(|source| io_error(&path, source))?;
        Ok(file)
    }

    /// Verifies a copy whose marker does not describe it: it was moved here, or restored. One with another digest is
    /// removed.
    ///
    /// # Errors
    /// It cannot be read, marked or removed.
    pub fn verify(&self, sha256: &[u8; 32]) -> Result<bool, CacheError> {
        use sha2::Digest as _;
        let path = self.copy(sha256);
        let mut file = match self.open_own(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            Err(CacheError::Foreign { .. }) => return remove(&path).map(|()| false),
            Err(error) => return Err(error),
        };
        let mut hash = sha2::Sha256::new();
        io::copy(&mut file, &mut hash).map_err(|source| io_error(&path, source))?;
        if <[u8; 32]>::from(hash.finalize()) != *sha256 {
            return remove(&path).map(|()| false);
        }
        let found = file.metadata().map_err(|source| io_error(&path, source))?;
        self.write_note(&self.marker(sha256), &Marker::of(&found).text())?;
        Ok(true)
    }

    fn copy(&self, sha256: &[u8; 32]) -> PathBuf {
        self.file(sha256, "gguf")
    }

    fn marker(&self, sha256: &[u8; 32]) -> PathBuf {
        self.file(sha256, "json")
    }

    fn file(&self, sha256: &[u8; 32], end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", hex::encode(sha256)))
    }

    /// A file of ours, opened as it is: no link is followed, and somebody else's is refused.
    fn open_own(&self, path: &Path, options: &mut OpenOptions) -> Result<File, CacheError> {
        let file = options
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .mode(0o644)
            .open(path)
            .map_err(|source| io_error(path, source))?;
        let found = file.metadata().map_err(|source| io_error(path, source))?;
        let is_own = found.is_file() && found.uid() == self.owner && found.nlink() == 1;
        if !is_own || found.mode() & OTHERS_WRITE != 0 {
            return Err(CacheError::Foreign {
                path: path.to_owned(),
                kind: "file",
                owner: self.owner,
            });
        }
        Ok(file)
    }

    /// A file of ours that is written and read, made where it is not there.
    fn create(&self, path: &Path) -> Result<File, CacheError> {
        self.open_own(
            path,
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false),
        )
    }

    /// What a small file holds; none where there is no such file of ours.
    fn note(&self, path: &Path) -> Result<Option<Vec<u8>>, CacheError> {
        use io::Read as _;
        let file = match self.open_own(path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(CacheError::Foreign { .. }) => return Ok(None),
            Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut note = Vec::new();
        file.take(MAX_NOTE_BYTES)
            .read_to_end(&mut note)
            .map_err(|source| io_error(path, source))?;
        Ok(Some(note))
    }

    /// Replaces a small file as a whole.
    fn write_note(&self, path: &Path, note: &[u8]) -> Result<(), CacheError> {
        use io::Write as _;
        let next = path.with_extension("next");
        remove(&next)?;
        let mut file = self.open_own(&next, OpenOptions::new().write(true).create_new(true))?;
        let written = file
            .set_permissions(fs::Permissions::from_mode(0o644))
            .and_then(|()| file.write_all(note))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&next, path));
        written.map_err(|source| io_error(path, source))
    }
}

fn io_error(path: &Path, source: io::Error) -> CacheError {
    CacheError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(path, source)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
