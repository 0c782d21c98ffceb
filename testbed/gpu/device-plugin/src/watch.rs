//! Waiting for one file of a folder to appear or change.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use futures::StreamExt as _;
use inotify::{EventMask, EventStream, Inotify, WatchMask};

/// Room for some sixteen events with the longest file name; what does not fit is read next.
const BUFFER: usize = 4096;

/// Events on one file name in one folder, counted from when this was made.
pub(crate) struct FileWatch {
    events: EventStream<Vec<u8>>,
    name: OsString,
}

impl FileWatch {
    /// Watches for `mask` on the file `name` of `folder`; the file need not exist.
    pub(crate) fn new(folder: &Path, name: impl AsRef<OsStr>, mask: WatchMask) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        inotify.watches().add(folder, mask)?;
        let events = inotify.into_event_stream(vec![0; BUFFER])?;
        Ok(Self {
            events,
            name: name.as_ref().to_owned(),
        })
    }

    /// Waits for the next event on the file; when the kernel had to drop events, that counts as one.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        while let Some(event) = self.events.next().await {
            let event = event?;
            if event.mask.contains(EventMask::Q_OVERFLOW) || event.name.is_some_and(|name| name == self.name)
            {
                return Ok(());
            }
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the stream of file events ended",
        ))
    }
}
