//! Which of several objects that describe one contract may be used.
//!
//! A contract pays claims that are cumulative: two ledgers that each meter toward it would be paid the larger of their
//! sums, not both. So one contract has one ledger, that of its holder; the others wait until the holder is gone.

use k8s_openapi::jiff::Timestamp;

/// A `PaymentChannel` object that names a contract. The least of a contract's contenders is its holder: the oldest, and
/// of those of one second the first by namespace and name. An object that is being deleted counts until it is gone,
/// since what it metered is still claimed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contender {
    /// When the API server took it, in whole seconds.
    pub created_at: Timestamp,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Contender {
    /// Why an object in `namespace` cannot be used while this one holds the contract, and what to do.
    ///
    /// A holder in another namespace is not named: whoever may create objects in one namespace could ask by a
    /// contract's public address who uses it elsewhere. Those who may list channels everywhere find it by the address.
    pub fn excludes(&self, namespace: &str) -> String {
        if self.namespace == namespace {
            let Self { namespace, name, .. } = self;
            return format!(
                "PaymentChannel {namespace}/{name} uses this contract, and one contract has one ledger: submit jobs with \
                 that channel, or delete it and wait until it is gone"
            );
        }
        "a PaymentChannel of another namespace uses this contract, and one contract has one ledger: open another channel, \
         or have that one deleted and wait until it is gone"
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(second: i64, namespace: &str, name: &str) -> Contender {
        Contender {
            created_at: Timestamp::from_second(second).unwrap(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    #[test]
    fn the_oldest_holds_a_contract_and_of_one_second_the_first_by_namespace_and_name() {
        let by_rank = [
            contender(1, "z", "z"),
            contender(2, "a", "b"),
            contender(2, "b", "a"),
            contender(2, "b", "b"),
            contender(3, "a", "a"),
        ];
        let mut mixed = by_rank.to_vec();
        mixed.rotate_left(3);
        mixed.swap(0, 1);
        mixed.sort();
        assert_eq!(mixed, by_rank);
    }

    #[test]
    fn a_holder_is_named_in_its_own_namespace_only() {
        let holder = contender(1, "tenant-a", "payer");
        assert!(holder.excludes("tenant-a").contains("tenant-a/payer"));
        let elsewhere = holder.excludes("tenant-b");
        assert!(elsewhere.contains("another namespace"), "{elsewhere}");
        assert!(
            !elsewhere.contains("tenant-a") && !elsewhere.contains("payer"),
            "{elsewhere}"
        );
    }
}
