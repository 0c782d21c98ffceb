//! Room for a copy: those that were used longest ago go first, and none that an agent holds or a download writes.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    time::{Duration, SystemTime},
};

use super::{Cache, CacheError, io_error, part::Validator, remove};

/// Name of the lock that one holds who makes room.
const ROOM_LOCK: &str = "room.lock";
/// How long a copy stays although nobody holds it: an agent's pod finds it first, and the agent holds it once it was
/// started, which takes seconds; one that ended is started again after five minutes at most.
const GRACE: Duration = Duration::from_mins(10);

/// What the folder holds of one digest.
#[derive(Debug, Default)]
struct Held {
    /// Bytes of the copy.
    copy: u64,
    /// Bytes that have come of one, or the whole where its server said how many they are.
    part: u64,
    /// When it was used last.
    used: Option<SystemTime>,
}

impl Cache {
    /// Evicts copies until `total` bytes of `sha256` fit beside the others within `limit`, and `ahead` more fit on the
    /// disk.
    pub(super) fn make_room(
        &self,
        sha256: &[u8; 32],
        total: u64,
        ahead: u64,
        limit: u64,
    ) -> Result<(), CacheError> {
        let path = self.folder.join(ROOM_LOCK);
        let lock = self.create(&path)?;
        lock.lock().map_err(|source| io_error(&path, source))?;
        let mut others = self.held()?;
        others.remove(sha256);
        let mut sum: u64 = others.values().map(|held| held.copy + held.part).sum();
        // What cannot fit evicts nothing: a server may say any length.
        if total > limit {
            return Err(CacheError::NoRoom {
                wanted: total,
                held: 0,
                limit,
            });
        }
        let free = self.free()?;
        if free.saturating_add(sum) < ahead {
            return Err(CacheError::DiskFull { wanted: ahead, free });
        }
        let mut oldest: Vec<_> = others.iter().collect();
        oldest.sort_by_key(|(digest, held)| (held.used, **digest));
        for (digest, held) in oldest {
            if sum.saturating_add(total) <= limit && self.free()? >= ahead {
                return Ok(());
            }
            sum -= self.evict(digest, held)?;
        }
        if sum.saturating_add(total) > limit {
            return Err(CacheError::NoRoom {
                wanted: total,
                held: sum,
                limit,
            });
        }
        let free = self.free()?;
        if free < ahead {
            return Err(CacheError::DiskFull { wanted: ahead, free });
        }
        Ok(())
    }

    /// Bytes that are free where the folder is.
    fn free(&self) -> Result<u64, CacheError> {
        let found =
            rustix::fs::statvfs(&self.folder).map_err(|error| io_error(&self.folder, error.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// What the folder holds, by digest.
    fn held(&self) -> Result<BTreeMap<[u8; 32], Held>, CacheError> {
        let mut found = BTreeMap::<[u8; 32], Held>::new();
        let entries = fs::read_dir(&self.folder).map_err(|source| io_error(&self.folder, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| io_error(&self.folder, source))?;
            let name = entry.file_name();
            let parts = name.to_str().and_then(|name| name.split_once('.'));
            let Some((digest, end)) = parts else { continue };
            let mut sha256 = [0; 32];
            if hex::decode_to_slice(digest, &mut sha256).is_err() {
                continue;
            }
            // What goes in between is not there.
            let Ok(file) = entry.metadata() else { continue };
            let held = found.entry(sha256).or_default();
            match end {
                "gguf" => held.copy = file.len(),
                "part" => {
                    let state = self.note(&self.file(&sha256, "state"))?;
                    let total = state.and_then(|state| Validator::parse(&state)?.total);
                    held.part = file.len().max(total.unwrap_or(0));
                    held.used = held.used.max(file.modified().ok());
                }
                "json" => held.used = held.used.max(file.modified().ok()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Removes what is held of a digest; answers the bytes that this gave.
    fn evict(&self, sha256: &[u8; 32], held: &Held) -> Result<u64, CacheError> {
        let mut given = 0;
        let was_used_lately = held
            .used
            .and_then(|used| used.elapsed().ok())
            .is_some_and(|age| age < GRACE);
        if held.copy > 0 && !was_used_lately && self.is_unused(sha256)? {
            // Without its marker the copy is none, whatever comes between.
            remove(&self.marker(sha256))?;
            remove(&self.copy(sha256))?;
            given += held.copy;
        }
        if held.part > 0 {
            let lock = self.create(&self.file(sha256, "lock"))?;
            if is_free(&lock)? {
                remove(&self.file(sha256, "part"))?;
                remove(&self.file(sha256, "state"))?;
                given += held.part;
            }
        }
        Ok(given)
    }

    /// Whether no agent holds the copy.
    fn is_unused(&self, sha256: &[u8; 32]) -> Result<bool, CacheError> {
        match self.open_own(&self.copy(sha256), OpenOptions::new().read(true)) {
            Ok(file) => is_free(&file),
            // Somebody else's is nobody's copy.
            Err(CacheError::Foreign { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Whether nobody holds the file's lock. Asking takes and gives it back at once.
fn is_free(file: &File) -> Result<bool, CacheError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(CacheError::Io {
            path: "the lock of a copy".into(),
            source,
        }),
    }
}
