//! Which of several operators serves a namespace: one alone.
//!
//! An operator that leads its own release says on its lease what it would serve, and waits while another's lease says
//! that it serves any of that already. Whoever finds nobody then says that it serves, and looks once more: of two that
//! said so at the same time, whoever said it later sees the other and takes its word back. Of two that wait, the one
//! with the older lease goes first.
//!
//! A lease does not fence, so that what must not happen twice is guarded by itself as well: ledgers by
//! compare-and-swap, settlements by the wallet's seqno. What this prevents is two operators that scale the same agents.

use std::fmt;

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};

/// Annotation of a lease: the namespaces that its holder serves or would serve, with commas between them, or [`ALL`].
pub const SCOPE_ANNOTATION: &str = "cocoon.farm/scope";
/// Annotation of a lease: `true` once its holder serves.
pub const SERVES_ANNOTATION: &str = "cocoon.farm/serves";
/// All namespaces.
pub const ALL: &str = "*";
/// Between two namespaces.
const COMMA: &str = ",";
/// Durations of a lease for which a holder that is silent still counts: it may be slow, or its clock may differ.
const SILENT_DURATIONS: i64 = 3;

/// Where an operator stands with what it would serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has said what it would serve.
    Asks,
    /// It has said that it serves.
    Serves,
}

/// Another operator, for which this one waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// Namespace of its lease.
    pub namespace: String,
    /// Who holds the lease.
    pub holder: String,
    /// What it serves, or would serve.
    pub scope: String,
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            holder,
            scope,
        } = self;
        match scope.as_str() {
            ALL => write!(
                f,
                "operator {holder} of namespace {namespace}, which serves all namespaces"
            ),
            scope => {
                let names = scope.replace(COMMA, " and ");
                let noun = if names == scope { "namespace" } else { "namespaces" };
                write!(
                    f,
                    "operator {holder} of namespace {namespace}, which serves {noun} {names}"
                )
            }
        }
    }
}

/// For whom the holder of `own` waits at this stage; `None` where nobody is in the way.
pub fn rival(own: &Lease, scope: &str, stage: Stage, leases: &[Lease], now: Timestamp) -> Option<Rival> {
    leases
        .iter()
        .filter(|lease| lease.metadata.uid != own.metadata.uid && is_held(lease, now))
        .filter(|lease| annotation(lease, SCOPE_ANNOTATION).is_some_and(|other| overlap(scope, other)))
        .find(|lease| {
            let serves = annotation(lease, SERVES_ANNOTATION) == Some("true");
            serves || (stage == Stage::Asks && age(lease) < age(own))
        })
        .map(|lease| Rival {
            namespace: lease.metadata.namespace.clone().unwrap_or_default(),
            holder: holder(lease).unwrap_or_default().to_owned(),
            scope: annotation(lease, SCOPE_ANNOTATION).unwrap_or_default().to_owned(),
        })
}

fn overlap(one: &str, other: &str) -> bool {
    let mut names = one.split(COMMA);
    one == ALL || other == ALL || names.any(|name| other.split(COMMA).any(|other| other == name))
}

/// What an operator that acts in these namespaces, or in all where none is listed, says on its lease.
pub fn scope(namespaces: &[String]) -> String {
    if namespaces.is_empty() {
        ALL.to_owned()
    } else {
        namespaces.join(COMMA)
    }
}

/// The API server's clock and a last word: no two leases are of one age.
fn age(lease: &Lease) -> (Option<Timestamp>, Option<&str>) {
    let created = lease.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, lease.metadata.uid.as_deref())
}

fn annotation<'a>(lease: &'a Lease, name: &str) -> Option<&'a str> {
    lease.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

fn is_held(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = lease.spec.as_ref().filter(|_| holder(lease).is_some()) else {
        return false;
    };
    let renewed = spec.renew_time.as_ref().map(|time| time.0.as_second());
    let lasts = i64::from(spec.lease_duration_seconds.unwrap_or_default()).saturating_mul(SILENT_DURATIONS);
    renewed.is_some_and(|renewed| renewed.saturating_add(lasts) >= now.as_second())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-26T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// A lease whose age is the order of its uid.
    fn lease(uid: &str, scope: Option<&str>, serves: bool) -> Lease {
        changed(uid, scope, serves, &json!({}))
    }

    fn changed(uid: &str, scope: Option<&str>, serves: bool, spec: &Value) -> Lease {
        let mut lease = json!({
            "metadata": {
                "name": "cocoon-operator", "namespace": format!("of-{uid}"), "uid": uid,
                "creationTimestamp": "2026-11-26T08:00:00Z", "annotations": {},
            },
            "spec": {"holderIdentity": format!("pod-{uid}"), "renewTime": "2026-11-26T11:59:55.000000Z", "leaseDurationSeconds": 10},
        });
        if let Some(scope) = scope {
            lease["metadata"]["annotations"] =
                json!({SCOPE_ANNOTATION: scope, SERVES_ANNOTATION: serves.to_string()});
        }
        for (key, value) in spec.as_object().unwrap() {
            lease["spec"][key] = value.clone();
        }
        serde_json::from_value(lease).unwrap()
    }

    fn waits(scope: &str, stage: Stage, others: &[Lease]) -> bool {
        rival(&lease("b", Some(scope), false), scope, stage, others, now()).is_some()
    }

    #[test]
    fn an_operator_waits_for_whoever_serves_any_of_its_namespaces() {
        for (own, other, expected) in [
            ("*", "*", true),
            ("*", "shop", true),
            ("shop", "*", true),
            ("shop", "shop", true),
            ("shop", "mine", false),
            ("shop,mine", "yours,mine", true),
            ("shop,mine", "yours,min", false),
        ] {
            let others = [lease("c", Some(other), true)];
            for stage in [Stage::Asks, Stage::Serves] {
                assert_eq!(waits(own, stage, &others), expected, "{own} beside {other}");
            }
        }
    }

    #[test]
    fn it_does_not_wait_for_itself_nor_for_other_leases() {
        assert!(!waits("*", Stage::Asks, &[]));
        assert!(!waits("*", Stage::Serves, &[lease("b", Some("*"), true)]));
        assert!(!waits("*", Stage::Asks, &[lease("a", None, false)]));
    }

    #[test]
    fn of_two_that_wait_the_elder_goes_first_and_nobody_serves_beside_another() {
        assert!(waits("*", Stage::Asks, &[lease("a", Some("*"), false)]));
        assert!(!waits("*", Stage::Asks, &[lease("c", Some("*"), false)]));
        assert!(!waits("*", Stage::Serves, &[lease("a", Some("*"), false)]));
    }

    #[test]
    fn nobody_waits_for_a_holder_that_is_gone_or_silent() {
        let given_back = json!({"holderIdentity": null, "renewTime": null});
        let silent = json!({"renewTime": "2026-11-26T11:59:29.000000Z"});
        let slow = json!({"renewTime": "2026-11-26T11:59:31.000000Z"});
        for (spec, expected) in [(given_back, false), (silent, false), (slow, true)] {
            assert_eq!(
                waits("*", Stage::Serves, &[changed("a", Some("*"), true, &spec)]),
                expected,
                "{spec}"
            );
        }
    }

    #[test]
    fn the_rival_is_named_with_what_it_serves() {
        let own = lease("b", Some("shop"), false);
        let words = |scope: &str| {
            rival(&own, "shop", Stage::Asks, &[lease("a", Some(scope), true)], now())
                .unwrap()
                .to_string()
        };
        assert_eq!(
            words("*"),
            "operator pod-a of namespace of-a, which serves all namespaces"
        );
        assert_eq!(
            words("shop"),
            "operator pod-a of namespace of-a, which serves namespace shop"
        );
        assert_eq!(
            words(&scope(&["mine".to_owned(), "shop".to_owned()])),
            "operator pod-a of namespace of-a, which serves namespaces mine and shop"
        );
    }

    /// Every interleaving of two operators that say, look, say and look.
    #[test]
    fn in_no_order_do_two_operators_serve_at_once() {
        for order in 0..1_u32 << 12 {
            let mut operators = [Operator::new("a"), Operator::new("b")];
            for step in 0..12 {
                let acting = usize::from(order >> step & 1 == 1);
                let leases = [operators[0].lease(), operators[1].lease()];
                operators[acting].act(&leases);
                let serving = operators
                    .iter()
                    .filter(|operator| operator.at == At::Acts)
                    .count();
                assert!(serving <= 1, "both serve with order {order:b} at {step}");
            }
        }
    }

    #[derive(Debug, PartialEq)]
    enum At {
        SaysItAsks,
        Looks,
        SaysItServes,
        LooksAgain,
        Acts,
    }

    struct Operator {
        uid: &'static str,
        at: At,
        said: Option<bool>,
    }

    impl Operator {
        fn new(uid: &'static str) -> Self {
            Self {
                uid,
                at: At::SaysItAsks,
                said: None,
            }
        }

        fn lease(&self) -> Lease {
            lease(self.uid, self.said.map(|_| ALL), self.said == Some(true))
        }

        fn act(&mut self, leases: &[Lease]) {
            let free = |stage| rival(&self.lease(), ALL, stage, leases, now()).is_none();
            (self.at, self.said) = match self.at {
                At::SaysItAsks => (At::Looks, Some(false)),
                At::Looks if free(Stage::Asks) => (At::SaysItServes, self.said),
                At::Looks => (At::Looks, self.said),
                At::SaysItServes => (At::LooksAgain, Some(true)),
                At::LooksAgain if free(Stage::Serves) => (At::Acts, self.said),
                At::LooksAgain => (At::SaysItAsks, self.said),
                At::Acts => (At::Acts, self.said),
            };
        }
    }
}
