//! The state on disk: numbered generations, each a snapshot and the journal of the blocks after it.
//!
//! ```text
//! snapshot-0000000007   the whole state, written aside and renamed into place
//! journal-0000000007    one line a block since then, appended
//! ```
//!
//! A line is `<first 16 hex digits of the SHA-256 of the JSON> <JSON>`. A reader takes the newest snapshot that is
//! whole and then every block that continues it, from its own journal and from later ones, up to the first line that is
//! torn or does not fit. A damaged newest snapshot therefore costs nothing: the one before it and both journals give
//! the same state. Writing never touches an older generation until two newer ones are in place.
//!
//! Snapshots are flushed to the disk itself; journal lines only to the operating system, so that a killed process
//! loses nothing and a power failure at most the blocks since the last snapshot.

mod line;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use crate::chain::{BlockRecord, Chain, Snapshot, SnapshotError, StateError};

/// Size in bytes at which a journal gives way to a new snapshot.
///
/// An empty block takes about 240 bytes, so that an idle network compacts every 15 hours at 0.4 s a block; a busy one
/// after some 10,000 transactions. Reading 32 MiB back takes well under a second.
pub const JOURNAL_BYTES: u64 = 32 * 1024 * 1024;

/// Generations kept beside the newest: one, for the case that the newest cannot be read.
const OLDER_GENERATIONS: u64 = 1;

/// The state folder of one network, locked against other processes.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    generation: u64,
    journal: Option<File>,
    journal_bytes: u64,
    _lock: File,
}

/// Why the state on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("failed to {attempt} {path}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// Another process runs this network.
    #[error("the state folder {0} is in use by another process; stop it or name another folder")]
    InUse(String),
    /// There are snapshots, and none of them is whole.
    #[error("no snapshot in {0} can be read; restore the folder or remove it to start a new network")]
    NoWholeSnapshot(String),
    /// The state cannot be turned into cells or back.
    #[error(transparent)]
    State(#[from] StateError),
    /// A stored snapshot is not a chain.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A record cannot be written as JSON.
    #[error("failed to write a record as JSON")]
    Json(#[from] serde_json::Error),
}

impl Store {
    /// Opens a state folder, creating it if needed, and reads the chain in it, if any.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be used, is in use, or holds snapshots of which none is whole.
    pub fn open(folder: &Path) -> Result<(Self, Option<Chain>), StoreError> {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let lock = lock(folder)?;
        let generations = generations(folder)?;
        let chain = read(folder, &generations)?;
        let generation = generations.last().copied().unwrap_or(0);
        Ok((
            Self {
                folder: folder.to_owned(),
                generation,
                journal: None,
                journal_bytes: 0,
                _lock: lock,
            },
            chain,
        ))
    }

    /// Writes the whole state as a new generation and forgets those that are no longer needed.
    ///
    /// # Errors
    ///
    /// Fails if the disk does; the older generations are then still there.
    pub fn compact(&mut self, chain: &Chain) -> Result<(), StoreError> {
        let generation = self.generation.saturating_add(1);
        let path = snapshot_path(&self.folder, generation);
        let aside = path.with_extension("partial");
        let text = line::encode(&chain.snapshot()?)?;
        let mut file = File::create(&aside).map_err(failed("create", &aside))?;
        file.write_all(&text).map_err(failed("write", &aside))?;
        file.sync_all().map_err(failed("flush", &aside))?;
        fs::rename(&aside, &path).map_err(failed("rename into place", &path))?;
        let journal = journal_path(&self.folder, generation);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&journal)
            .map_err(failed("create", &journal))?;
        sync_folder(&self.folder)?;
        self.journal = Some(file);
        self.journal_bytes = 0;
        self.generation = generation;
        self.forget_old()
    }

    /// Appends one block to the journal.
    ///
    /// # Errors
    ///
    /// Fails if the disk does, before the first [`Store::compact`], and after a failure until the next one.
    pub fn append(&mut self, record: &BlockRecord) -> Result<(), StoreError> {
        let path = journal_path(&self.folder, self.generation);
        let Some(journal) = &mut self.journal else {
            return Err(failed("append to", &path)(io::Error::other("no journal is open")));
        };
        let text = line::encode(record)?;
        if let Err(error) = journal.write_all(&text) {
            // A line may be half written: nothing after it would ever be read back.
            self.journal = None;
            return Err(failed("append to", &path)(error));
        }
        self.journal_bytes = self.journal_bytes.saturating_add(text.len() as u64);
        Ok(())
    }

    /// True when the journal has grown past [`JOURNAL_BYTES`].
    pub const fn compaction_due(&self) -> bool {
        self.journal_bytes >= JOURNAL_BYTES
    }

    /// Makes the next [`Store::append`] fail, as a full disk would.
    #[cfg(test)]
    pub(crate) fn lose_journal(&mut self) {
        self.journal = None;
    }

    fn forget_old(&self) -> Result<(), StoreError> {
        let oldest_kept = self.generation.saturating_sub(OLDER_GENERATIONS);
        for generation in generations(&self.folder)?
            .into_iter()
            .filter(|generation| *generation < oldest_kept)
        {
            for path in [
                snapshot_path(&self.folder, generation),
                journal_path(&self.folder, generation),
            ] {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("remove", &path)(error));
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Reads the newest whole snapshot and every block that continues it.
fn read(folder: &Path, generations: &[u64]) -> Result<Option<Chain>, StoreError> {
    let mut chain = None;
    let mut base = 0;
    for &generation in generations.iter().rev() {
        if let Some(snapshot) = read_snapshot(&snapshot_path(folder, generation))? {
            chain = Some(Chain::restore(snapshot)?);
            base = generation;
            break;
        }
        tracing::warn!(generation, "snapshot is damaged; trying the one before it");
    }
    let Some(mut chain) = chain else {
        return if generations.is_empty() {
            Ok(None)
        } else {
            Err(StoreError::NoWholeSnapshot(folder.display().to_string()))
        };
    };
    for &generation in generations.iter().filter(|generation| **generation >= base) {
        replay(&mut chain, &journal_path(folder, generation))?;
    }
    Ok(Some(chain))
}

fn read_snapshot(path: &Path) -> Result<Option<Snapshot>, StoreError> {
    let bytes = fs::read(path).map_err(failed("read", path))?;
    Ok(line::decode(&bytes))
}

/// Applies the blocks of one journal that continue the chain, up to the first torn line.
fn replay(chain: &mut Chain, path: &Path) -> Result<(), StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader
            .read_until(b'\n', &mut bytes)
            .map_err(failed("read", path))?
            == 0
        {
            return Ok(());
        }
        let Some(record) = line::decode::<BlockRecord>(&bytes) else {
            tracing::warn!(path = %path.display(), seqno = chain.head().seqno, "journal ends in a torn line");
            return Ok(());
        };
        if chain.head().seqno.checked_add(1) == Some(record.header.seqno) {
            chain.apply(record)?;
        }
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(folder.display().to_string())),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

/// Numbers of the snapshots in a folder, ascending.
fn generations(folder: &Path) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let name = entry.map_err(failed("list", folder))?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_prefix("snapshot-"))
            .and_then(|rest| rest.parse().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

fn snapshot_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("snapshot-{generation:010}"))
}

fn journal_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("journal-{generation:010}"))
}

/// Makes a rename survive a power failure.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("flush", folder))
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |source| StoreError::Io {
        attempt,
        path,
        source,
    }
}
