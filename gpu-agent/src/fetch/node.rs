//! A download onto a node: into its folder of models, once.

use cocoon_api::agent::{FetchFault, FetchStage};

use super::{FetchError, Patience, Progress, Sink, Source, transfer};
use crate::cache::{
    Cache,
    part::{Part, Validator},
};

/// Room that is made ahead for a file whose length nobody says.
const STEP_BYTES: u64 = 1 << 28;

/// What a node is to have.
#[derive(Debug)]
pub struct Order {
    /// Where it comes from.
    pub source: Source,
    /// What it must be.
    pub sha256: [u8; 32],
    /// Bytes that all copies of the node may take.
    pub limit: u64,
}

/// Makes sure that the node has a copy: waits for a download of the same file that is under way, and goes on with one
/// that broke.
///
/// # Errors
/// The file cannot be had, is another one, or cannot be kept.
pub async fn onto_node(
    order: &Order,
    cache: &Cache,
    patience: &Patience,
    progress: &Progress,
) -> Result<(), FetchError> {
    let sha256 = order.sha256;
    let lock = {
        let cache = cache.clone();
        // Another download may take hours.
        let locked = tokio::task::spawn_blocking(move || cache.lock(&sha256)).await;
        locked
            .map_err(|_| FetchError::new(FetchFault::CacheUnusable, "the lock of the copy was not taken"))??
    };
    progress.enter(FetchStage::Verifying, 0);
    if cache.find(&sha256)?.is_some() || cache.verify(&sha256)? {
        return Ok(());
    }
    let part = Part::open(cache, sha256, lock)?;
    if part.digest() == sha256 {
        // It was stopped between its last byte and its place.
        return Ok(part.publish()?);
    }
    let mut resumed = part.length() > 0;
    let mut sink = ToNode::new(part, order)?;
    loop {
        transfer(&order.source, &mut sink, patience, progress).await?;
        progress.enter(FetchStage::Verifying, sink.part.length());
        let actual = sink.part.digest();
        if actual == sha256 {
            return Ok(sink.part.publish()?);
        }
        if !resumed {
            let words = format!(
                "the file from {} has sha256 {}, not {}; it was removed",
                order.source.host(),
                hex::encode(actual),
                hex::encode(sha256),
            );
            sink.part.discard()?;
            return Err(FetchError::new(FetchFault::DigestMismatch, words));
        }
        // Its parts may be of two files: a server need not say that it has another one.
        resumed = false;
        sink.clear()?;
    }
}

/// Takes bytes onto the node's disk. Writes go to the page cache, so that they are not worth a thread of their own.
struct ToNode<'a> {
    part: Part<'a>,
    validator: Validator,
    limit: u64,
    /// Up to here room was made.
    room: u64,
}

impl<'a> ToNode<'a> {
    fn new(part: Part<'a>, order: &Order) -> Result<Self, FetchError> {
        let address = order.source.digest();
        let kept = part.validator()?.filter(|kept| kept.address == address);
        let validator = kept.unwrap_or(Validator {
            address,
            ..Validator::default()
        });
        Ok(Self {
            part,
            validator,
            limit: order.limit,
            room: 0,
        })
    }
}

impl Sink for ToNode<'_> {
    fn length(&self) -> u64 {
        self.part.length()
    }

    fn known(&self) -> (Option<String>, Option<u64>) {
        (self.validator.name.clone(), self.validator.total)
    }

    fn expect(&mut self, total: Option<u64>, name: Option<String>) -> Result<(), FetchError> {
        if let Some(total) = total {
            self.part.make_room(total, self.limit)?;
            self.room = total;
        }
        self.validator.total = total;
        self.validator.name = name;
        Ok(self.part.keep(&self.validator)?)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let length = self.part.length() + bytes.len() as u64;
        if length > self.room {
            self.room = self.part.length() + STEP_BYTES.max(bytes.len() as u64);
            // Of what is allowed the last bytes may be less than a step.
            let wanted = if length <= self.limit {
                self.room.min(self.limit)
            } else {
                self.room
            };
            self.part.make_room(wanted, self.limit)?;
        }
        Ok(self.part.write(bytes)?)
    }

    fn clear(&mut self) -> Result<(), FetchError> {
        self.validator.name = None;
        self.validator.total = None;
        self.room = 0;
        Ok(self.part.clear()?)
    }
}
