//! Payment step by step: of a job's budget only so much is set free at once as a few requests may cost.
//!
//! The payer signs for the next step when it has verified the receipts of the last one, and the operator starts a step
//! only when it is signed for. So the payer never promised more than one step beyond what it has verified, and the
//! provider never worked for more than was promised.

use cocoon_api::NanoTon;

/// What a job may have cost in all by the end of its next step: what it cost so far, and the share that `step` of
/// `total` requests have of the budget, rounded up. All of the budget where there are no steps.
pub fn allowance(budget: NanoTon, step: Option<u32>, spent: NanoTon, total: u32) -> NanoTon {
    let Some(step) = step.filter(|step| *step < total) else {
        return budget;
    };
    // A 63-bit amount times a 32-bit count stays below 2^95, and the share below the budget.
    let share = (u128::from(budget.nano()) * u128::from(step)).div_ceil(u128::from(total));
    let share = u64::try_from(share)
        .ok()
        .and_then(|share| NanoTon::from_nano(share).ok());
    share
        .and_then(|share| spent.checked_add(share).ok())
        .map_or(budget, |allowed| allowed.min(budget))
}

#[cfg(test)]
mod tests {
    use cocoon_api::{
        Bill, Subject, Usage,
        conditions::{self, Ready, Reason as _},
        crd::{PaymentChannelStatus, channel::Counter},
    };
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::ledger;

    fn nano(value: u64) -> NanoTon {
        NanoTon::from_nano(value).unwrap()
    }

    #[test]
    fn a_step_has_its_share_of_the_budget_and_the_last_one_the_rest() {
        let allowed = |step, spent| allowance(nano(100), step, nano(spent), 7).nano();
        assert_eq!(allowed(None, 0), 100);
        assert_eq!(allowed(Some(7), 0), 100);
        assert_eq!((allowed(Some(2), 0), allowed(Some(2), 10)), (29, 39));
        assert_eq!(allowed(Some(2), 90), 100);
    }

    proptest! {
        /// Payer, operator and agent, step by step, each as careful as it may be and as greedy as the others let it be.
        #[test]
        fn neither_side_ever_risks_more_than_one_step(
            budget in 1..1_000_000_u64, total in 1..40_u32, step in 1..40_u32, greed in proptest::collection::vec(0..=100_u64, 40),
            forgets in proptest::collection::vec(any::<bool>(), 40),
        ) {
            let share = (budget * u64::from(step.min(total))).div_ceil(u64::from(total));
            let mut status = PaymentChannelStatus { deposit_nano: nano(10 * budget), ..PaymentChannelStatus::default() };
            conditions::set(&mut status.conditions, Ready::Ready.condition("r"), None, Timestamp::UNIX_EPOCH);
            let bill = Bill::job("job");
            let (mut delivered, mut ended, mut attempt) = (0_u64, 0_u32, 0_u32);
            for (greed, forgets) in greed.into_iter().zip(forgets) {
                if ended == total {
                    break;
                }
                // The payer signs for what it verified and a step, or does not come round to it.
                if !forgets {
                    status.cap_nano = status.cap_nano.max(allowance(nano(budget), Some(step), nano(delivered), total));
                    prop_assert!(status.cap_nano.nano() <= (delivered + share).min(budget), "the payer's risk");
                }
                // The operator starts the next step where the voucher covers it.
                let wanted = allowance(nano(budget), Some(step), nano(delivered), total);
                if ledger::reserve(&mut status, &bill, "job", wanted).unwrap().is_err() {
                    prop_assert!(forgets, "a payer that signs is served");
                    continue;
                }
                // The agent delivers up to its budget.
                let most = ledger::reserved(&status, &bill).unwrap().nano() - delivered;
                delivered += most * greed / 100;
                ended = (ended + step).min(total);
                attempt += 1;
                let counter = Counter {
                    agent: "a".into(), subject: Subject::job("job", attempt), name: "job".into(), count: 1, usage: Usage::default(),
                    nano: nano(most * greed / 100), head: String::new(),
                };
                ledger::merge(&mut status, counter).unwrap();
                let accrued = ledger::accrued(&status).unwrap();
                prop_assert!(accrued <= status.cap_nano, "the provider's risk");
                prop_assert!(delivered <= budget);
            }
        }
    }
}
