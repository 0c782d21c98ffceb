//! The failures file: which GPUs have failed, so that a cluster can be shown losing a GPU. They are reported as
//! unhealthy, and the driver in software loses them.
//!
//! It holds GPU indices from 0, separated by white space. No file means no failures.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use inotify::WatchMask;
use tokio_util::sync::CancellationToken;

use crate::gpus::Gpus;
use crate::watch::FileWatch;

/// Why the failures file cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path has no folder and file name to watch.
    #[error("failures file {0} is not the path of a file")]
    NoFile(PathBuf),
    /// The file or its folder cannot be read.
    #[error("read the failures file {0}")]
    Read(PathBuf, #[source] io::Error),
}

/// Something in the failures file that is no GPU index.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a GPU index from 0 to 65535")]
pub struct InvalidIndex(String);

/// Reads the content of a failures file.
pub fn parse(text: &str) -> Result<BTreeSet<u16>, InvalidIndex> {
    text.split_whitespace()
        .map(|word| word.parse().map_err(|_| InvalidIndex(word.to_owned())))
        .collect()
}

/// Keeps the health of `gpus` as the file at `path` says, until `stop`. A file that makes no sense changes nothing.
pub async fn follow(path: &Path, gpus: &Gpus, stop: &CancellationToken) -> Result<(), Error> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::NoFile(path.to_owned()));
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mask = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE;
    let failed = |error| Error::Read(path.to_owned(), error);
    let mut watch = FileWatch::new(folder, name, mask).map_err(failed)?;
    loop {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(failed)?,
        };
        match parse(&text) {
            Ok(indices) => gpus.set_failed(&indices),
            Err(error) => tracing::warn!(file = %path.display(), %error, "ignored the failures file"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = watch.changed() => changed.map_err(failed)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn indices_may_be_on_one_line_or_many() {
        assert_eq!(parse(" 0 2\n7\n"), Ok(BTreeSet::from([0, 2, 7])));
        assert_eq!(parse(""), Ok(BTreeSet::new()));
        assert_eq!(parse("0\n-1"), Err(InvalidIndex("-1".into())));
    }

    proptest! {
        #[test]
        fn parsing_arbitrary_text_never_panics(text in any::<String>()) {
            drop(parse(&text));
        }
    }
}
