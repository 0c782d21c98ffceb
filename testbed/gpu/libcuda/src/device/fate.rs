//! How a card breaks: it falls off the bus, or its memory loses a word. Neither heals while the process lives.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::config::cards::{Card, Trigger};
use crate::error::{Code, Result};
use crate::log;

/// Whether a card still works.
#[derive(Debug)]
pub struct Fate {
    launches: AtomicU64,
    broken: AtomicI32,
}

impl Fate {
    /// A working card.
    pub fn new() -> Self {
        Self {
            launches: AtomicU64::new(0),
            broken: AtomicI32::new(0),
        }
    }

    /// Counts a completed launch.
    pub fn launched(&self) {
        self.launches.fetch_add(1, Ordering::Relaxed);
    }

    /// Launches that have completed.
    pub fn launches(&self) -> u64 {
        self.launches.load(Ordering::Relaxed)
    }

    /// The error of a broken card: `CUDA_ERROR_UNKNOWN`, which is what programs see when a card has left the bus
    /// (Xid 79), or `CUDA_ERROR_ECC_UNCORRECTABLE`.
    pub fn check(&self, card: &Card) -> Result<()> {
        if let Some(code) = Code::of(self.broken.load(Ordering::Acquire)) {
            return Err(code);
        }
        if self.met(&card.lost) {
            return Err(self.broke(card, Code::UNKNOWN, "the card has fallen off the bus"));
        }
        if self.met(&card.ecc_error) {
            return Err(self.broke(
                card,
                Code::ECC_UNCORRECTABLE,
                "the card's memory has an uncorrectable error",
            ));
        }
        Ok(())
    }

    fn met(&self, trigger: &Trigger) -> bool {
        trigger.after.is_some_and(|after| self.launches() >= after)
            || trigger.when.as_ref().is_some_and(|path| path.exists())
    }

    fn broke(&self, card: &Card, code: Code, what: &str) -> Code {
        let first = self
            .broken
            .compare_exchange(0, code.number(), Ordering::AcqRel, Ordering::Acquire);
        if let Err(earlier) = first {
            return Code::of(earlier).unwrap_or(code);
        }
        log::refuse(
            code,
            &format!(
                "{what}: {} at bus {:02x}, after {} launches",
                card.name,
                card.bus,
                self.launches()
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Fate;
    use crate::config::cards::parse;
    use crate::error::Code;

    #[test]
    fn a_card_is_lost_after_its_launches_and_stays_lost() {
        let card = &parse("h100:lost-after=2").expect("valid")[0];
        let fate = Fate::new();
        fate.launched();
        assert_eq!(fate.check(card), Ok(()));
        fate.launched();
        assert_eq!(fate.check(card), Err(Code::UNKNOWN));
        assert_eq!(fate.check(card), Err(Code::UNKNOWN));
    }

    #[test]
    fn a_card_whose_file_appears_stays_broken_when_the_file_goes() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("gone");
        let card = &parse(&format!("h100:ecc-when={}", file.display())).expect("valid")[0];
        let fate = Fate::new();
        assert_eq!(fate.check(card), Ok(()));
        std::fs::write(&file, "").expect("written");
        assert_eq!(fate.check(card), Err(Code::ECC_UNCORRECTABLE));
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(fate.check(card), Err(Code::ECC_UNCORRECTABLE));
    }
}
