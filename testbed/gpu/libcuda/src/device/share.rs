//! How much of a card's memory each process holds, so that two of them together cannot exceed the card.
//!
//! Every process has a world of its own: addresses, contexts, contents. What they share is the amount. Under the
//! runtime folder each card has a folder of its UUID; in it, `lock` is held while somebody reads or changes amounts,
//! and each process keeps one file with the bytes that it holds. The process locks its file for as long as it lives;
//! whoever finds another's file unlocked knows that its process is gone, and removes it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// What one process holds of one card.
#[derive(Debug)]
pub struct Share {
    capacity: u64,
    dir: PathBuf,
    lock: File,
    own: Mutex<Own>,
}

#[derive(Debug)]
struct Own {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Share {
    /// Joins the processes that use the card whose folder is `dir`; `capacity` is its memory in bytes.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or its files cannot be locked.
    pub fn join(dir: &Path, capacity: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let open = |path: &Path| {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)
        };
        let lock = open(&dir.join("lock"))?;
        // Two containers can have the same process id: the time tells them apart.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let path = dir.join(format!("{}-{now}.held", std::process::id()));
        lock.lock()?;
        let own = open(&path).and_then(|file| file.lock().map(|()| file));
        lock.unlock()?;
        let own = Own {
            path,
            file: own?,
            bytes: 0,
        };
        Ok(Self {
            capacity,
            dir: dir.to_owned(),
            lock,
            own: Mutex::new(own),
        })
    }

    /// Takes `bytes` more; false if the card has not that much left.
    pub fn take(&self, bytes: u64) -> io::Result<bool> {
        self.locked(|others, own| {
            let fits = own
                .bytes
                .checked_add(others)
                .and_then(|held| held.checked_add(bytes));
            if fits.is_none_or(|held| held > self.capacity) {
                return Ok(false);
            }
            own.write(own.bytes + bytes)?;
            Ok(true)
        })
    }

    /// Gives `bytes` back.
    pub fn give(&self, bytes: u64) -> io::Result<()> {
        self.locked(|_, own| own.write(own.bytes.saturating_sub(bytes)))
    }

    /// Bytes that nobody holds.
    pub fn free(&self) -> io::Result<u64> {
        self.locked(|others, own| Ok(self.capacity.saturating_sub(others.saturating_add(own.bytes))))
    }

    /// Runs `act` with what all others hold and with the own entry, while no other process looks.
    fn locked<T>(&self, act: impl FnOnce(u64, &mut Own) -> io::Result<T>) -> io::Result<T> {
        let mut own = self.own.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.lock.lock()?;
        let result = others(&self.dir, &own.path).and_then(|held| act(held, &mut own));
        self.lock.unlock()?;
        result
    }
}

impl Own {
    fn write(&mut self, bytes: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&bytes.to_le_bytes())?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let own = self
            .own
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // If it stays, the next process removes it.
        let _ = fs::remove_file(&own.path);
    }
}

/// What living processes other than this one hold. Files of dead ones are removed.
fn others(dir: &Path, own: &Path) -> io::Result<u64> {
    let mut held = 0_u64;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path == own || path.extension().is_none_or(|extension| extension != "held") {
            continue;
        }
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => continue,
            Err(problem) => return Err(problem),
        };
        match file.try_lock() {
            Ok(()) => fs::remove_file(&path)?,
            Err(TryLockError::WouldBlock) => {
                let mut bytes = [0; 8];
                // A process that has just begun holds nothing and has written nothing.
                if file.read(&mut bytes)? == bytes.len() {
                    held = held.saturating_add(u64::from_le_bytes(bytes));
                }
            }
            Err(TryLockError::Error(problem)) => return Err(problem),
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn two_shares_together_cannot_exceed_the_card() {
        let dir = tempfile::tempdir().expect("a folder");
        let (one, two) = (
            Share::join(dir.path(), 100).expect("joins"),
            Share::join(dir.path(), 100).expect("joins"),
        );
        assert!(one.take(60).expect("locks"));
        assert!(!two.take(41).expect("locks"));
        assert!(two.take(40).expect("locks"));
        assert_eq!(one.free().expect("locks"), 0);
        one.give(10).expect("locks");
        assert_eq!(two.free().expect("locks"), 10);
        assert!(!two.take(u64::MAX).expect("locks"));
    }

    #[test]
    fn what_a_dead_process_held_is_free_again() {
        let dir = tempfile::tempdir().expect("a folder");
        // A file that nobody locks is what a process leaves behind that was killed.
        std::fs::write(dir.path().join("1-1.held"), 90_u64.to_le_bytes()).expect("written");
        let share = Share::join(dir.path(), 100).expect("joins");
        assert!(share.take(100).expect("locks"));
        assert!(!dir.path().join("1-1.held").exists());
    }
}
