//! What a copy looked like when it was verified.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _};

use serde::{Deserialize, Serialize};

/// What a copy looked like when it was verified. A file that looks otherwise was written since, or is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Marker {
    /// Its length.
    bytes: u64,
    /// The number of its inode.
    inode: u64,
    /// When its content was last written: seconds and nanoseconds.
    modified: (i64, i64),
    /// When anything of it was last changed, as the kernel notes it.
    changed: (i64, i64),
}

impl Marker {
    /// What a file looks like.
    pub fn of(file: &Metadata) -> Self {
        Self {
            bytes: file.len(),
            inode: file.ino(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// Reads a marker; none where the bytes are none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Bytes of the copy.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// As it is written.
    pub(super) fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
