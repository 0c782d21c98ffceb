//! When certificates are made, used and replaced: pure decisions over times.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use x509_parser::{certificate::X509Certificate, time::ASN1Time};

/// How long an authority is valid.
pub const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a certificate of the operator is valid.
pub const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far clocks of nodes may be behind: certificates are valid from this long before they were made.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(1);
/// How long a new authority is only trusted before it signs. The kubelet renews mounted Secrets within two
/// minutes; a day leaves room for nodes that were away.
pub const PROPAGATION: SignedDuration = SignedDuration::from_hours(24);

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: Timestamp,
    /// Last moment.
    pub not_after: Timestamp,
}

impl Validity {
    /// Valid for `life` from now on, and a little before; never beyond `limit`.
    pub fn starting(now: Timestamp, life: SignedDuration, limit: Timestamp) -> Self {
        let not_before = now.saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
        let not_after = now.saturating_add(life).unwrap_or(Timestamp::MAX).min(limit);
        Self {
            not_before,
            not_after,
        }
    }

    /// As a certificate says it; whole seconds.
    pub fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let time = |time: ASN1Time| Timestamp::from_second(time.timestamp()).ok();
        let found = certificate.validity();
        Some(Self {
            not_before: time(found.not_before)?,
            not_after: time(found.not_after)?,
        })
    }

    /// When under a third of its life is left, and it is replaced.
    pub fn renewal(self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_after.saturating_sub(life / 3).unwrap_or(self.not_before)
    }

    /// Whether it is to be replaced.
    pub fn is_due(self, now: Timestamp) -> bool {
        now >= self.renewal()
    }

    /// Whether it is over.
    pub fn is_expired(self, now: Timestamp) -> bool {
        now >= self.not_after
    }

    fn is_propagated(self, now: Timestamp) -> bool {
        now.duration_since(self.not_before) >= PROPAGATION + CLOCK_SKEW
    }
}

/// What to do about the authorities, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Make a new one.
    pub create: bool,
    /// How many of the list are kept, from its head: those that have not expired.
    pub keep: usize,
}

/// Decides about the authorities, newest first: a new one when the newest is due, and none that is over.
pub fn rotation(newest_first: &[Validity], now: Timestamp) -> Rotation {
    let keep = newest_first
        .iter()
        .take_while(|validity| !validity.is_expired(now))
        .count();
    let create = keep == 0 || newest_first[0].is_due(now);
    Rotation { create, keep }
}

/// Which authority signs: the newest that everybody has had time to learn of, else the oldest.
pub fn signer(newest_first: &[Validity], now: Timestamp) -> Option<usize> {
    let learnt = newest_first
        .iter()
        .position(|validity| validity.is_propagated(now));
    learnt.or_else(|| newest_first.len().checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(day * 86_400).unwrap()
    }

    fn made(on: i64) -> Validity {
        Validity::starting(day(on), AUTHORITY_LIFE, Timestamp::MAX)
    }

    #[test]
    fn a_leaf_is_renewed_after_two_thirds_of_its_life() {
        let leaf = Validity::starting(day(0), LEAF_LIFE, Timestamp::MAX);
        assert!(!leaf.is_due(day(19)));
        assert!(leaf.is_due(day(20)));
        assert!(!leaf.is_expired(day(29)));
        assert!(leaf.is_expired(day(30)));
    }

    #[test]
    fn a_leaf_never_outlives_its_authority() {
        assert_eq!(Validity::starting(day(0), LEAF_LIFE, day(10)).not_after, day(10));
    }

    #[test]
    fn an_authority_is_replaced_in_time_and_kept_until_it_is_over() {
        assert_eq!(
            rotation(&[], day(0)),
            Rotation {
                create: true,
                keep: 0
            }
        );
        assert_eq!(
            rotation(&[made(0)], day(240)),
            Rotation {
                create: false,
                keep: 1
            }
        );
        assert_eq!(
            rotation(&[made(0)], day(244)),
            Rotation {
                create: true,
                keep: 1
            }
        );
        assert_eq!(
            rotation(&[made(244), made(0)], day(364)),
            Rotation {
                create: false,
                keep: 2
            }
        );
        assert_eq!(
            rotation(&[made(244), made(0)], day(365)),
            Rotation {
                create: false,
                keep: 1
            }
        );
        assert_eq!(
            rotation(&[made(0)], day(400)),
            Rotation {
                create: true,
                keep: 0
            }
        );
    }

    #[test]
    fn a_new_authority_signs_only_after_everybody_learnt_of_it() {
        assert_eq!(signer(&[], day(0)), None);
        assert_eq!(signer(&[made(0)], day(0)), Some(0));
        assert_eq!(signer(&[made(244), made(0)], day(244)), Some(1));
        assert_eq!(signer(&[made(244), made(0)], day(245)), Some(0));
    }
}
