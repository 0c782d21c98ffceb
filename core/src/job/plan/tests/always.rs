//! What holds for every state.

use cocoon_api::agent::{FetchFault, GpuFault};
use proptest::prelude::*;

use super::*;
use crate::agents::{Rejection, Shortage, fetch::Fetch};

fn states() -> impl Strategy<Value = AgentState> {
    prop_oneof![
        Just(ready()),
        Just(AgentState::Starting),
        Just(AgentState::Unschedulable("words".into())),
        Just(AgentState::Crashing("words".into())),
        Just(AgentState::GpuUnusable(GpuFault::DeviceLost)),
        Just(AgentState::VolumesMissing("words".into())),
        Just(AgentState::VolumesNotReady("words".into())),
        Just(AgentState::AwaitingModel {
            node: "n".into(),
            fetch: Fetch::Failed(FetchFault::DigestMismatch)
        }),
        Just(AgentState::Terminating),
        Just(AgentState::Gone),
        Just(AgentState::Rejected(Rejection {
            node: "n".into(),
            shortage: Shortage::Resources,
            words: "words".into(),
        })),
    ]
}

fn following() -> impl Strategy<Value = Following> {
    prop_oneof![
        Just(Following::No),
        Just(Following::Yes),
        Just(Following::Ended),
        Just(Following::Replaced),
        Just(Following::Unreachable),
        Just(Following::Refused(RefusalCode::Busy)),
    ]
}

proptest! {
    #[test]
    fn nothing_starts_without_a_reservation_and_every_wait_is_explained(
        state in states(), following in following(), covered in 0..200u64, holds in any::<bool>(),
        suspend in any::<bool>(), attempt in proptest::option::of(prop_oneof![
            Just(AssignmentState::Active), Just(AssignmentState::Lost), Just(AssignmentState::Suspended)]),
    ) {
        let case = Case {
            job: job(suspend, None),
            status: attempt.map(assigned).unwrap_or_default(),
            channel: Some(if holds { reserved() } else { channel(covered) }),
            agents: vec![agent(state, 0)],
            following,
            ..Case::default()
        };
        let plan = case.plan();
        if matches!(plan.step, Step::Assign { .. }) {
            prop_assert!(holds && !suspend);
        }
        if plan.step == Step::Wait {
            prop_assert!(plan.waiting_for.is_some_and(|words| !words.is_empty()));
        }
        prop_assert_eq!(case.plan().step, plan.step, "planning twice is the same plan");
    }
}
