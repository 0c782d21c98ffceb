mod always;
mod attempts;
mod coverage;
mod grants;
mod lost;
mod steps;
mod waits;

use cocoon_api::{
    Bill, NanoTon, Subject, Usage,
    agent::{FailureCode, Outcome, RefusalCode, ResultLine},
    conditions::{self, Funded, Ready, VoucherValid},
    crd::{
        AgreedTerms, Agreement, InferenceJob, MaxPrices, PaymentChannelStatus,
        channel::{ChannelState, Counter, Voucher},
        job::{Assignment, AssignmentState, MAX_ASSIGNMENTS},
    },
    receipt::{AgentKey, ChainId, RECEIPT_VERSION, ReceiptChain, Sha256Digest},
    units::{Prices, TokenPrice},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::json;

use super::*;
use crate::{
    agents::{AgentPod, AgentState, Refusal},
    job::{
        input::InputSummary,
        landing::{LIMITS, Terms},
        validate::{Billing, validate},
    },
    ledger,
};

const UID: &str = "job-uid";
const AGENTS_WORDS: &str = "canary-7f3a";

fn job(suspend: bool, deadline: Option<i64>) -> ValidatedJob {
    let job: InferenceJob = serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
        "metadata": {"name": "j", "uid": UID},
        "spec": {"model": "m", "endpoint": "/v1/completions", "suspend": suspend,
                 "activeDeadlineSeconds": deadline, "backoffLimit": 2,
                 "input": {"inline": [{"prompt": "a"}, {"prompt": "b"}]},
                 "billing": {"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": 100}},
    }))
    .unwrap();
    let input = InputSummary {
        total: 2,
        digest: Sha256Digest::of(b"input"),
    };
    validate(&job, &Ok(input)).unwrap()
}

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

fn offer() -> Offer {
    Offer {
        provider: "farm".into(),
        granted: true,
        closed: false,
        model_sha256: Some("00".repeat(32)),
        prices: Prices {
            minimum_nano: nano(1),
            ..Prices::default()
        },
        allow_free: false,
        unpayable: None,
    }
}

fn channel(covered: u64) -> Channel {
    let mut status = PaymentChannelStatus {
        state: Some(ChannelState::Open),
        epoch: Some(0),
        challenge_seconds: Some(3_600),
        vouchers: vec![Voucher {
            cap_nano: nano(covered),
            valid_until: 100_000,
            epoch: 0,
            signature: String::new(),
        }],
        cap_nano: nano(covered),
        deposit_nano: nano(covered),
        ..Default::default()
    };
    for condition in [
        VoucherValid::Valid.condition("v"),
        Funded::Funded.condition("f"),
        Ready::Ready.condition("r"),
    ] {
        conditions::set(&mut status.conditions, condition, None, Timestamp::UNIX_EPOCH);
    }
    Channel {
        uid: "channel-uid".into(),
        provider: "farm".into(),
        address: "EQ".into(),
        deleting: false,
        seen_at: Some(10),
        now: 10,
        status,
    }
}

fn reserved() -> Channel {
    let mut channel = channel(100);
    ledger::reserve(&mut channel.status, &Bill::job(UID), "j", nano(100))
        .unwrap()
        .unwrap();
    channel
}

fn agent(state: AgentState, active: usize) -> Agent {
    Agent {
        pod: AgentPod {
            name: "a".into(),
            uid: "pod".into(),
            model: "m".into(),
            state,
            address: None,
            displaced: false,
        },
        active,
    }
}

fn ready() -> AgentState {
    AgentState::Ready("10.0.0.1".parse().unwrap())
}

fn agreed() -> Agreement {
    Agreement {
        provider: "farm".into(),
        model_sha256: "00".repeat(32),
        prices: offer().prices,
        terms: AgreedTerms {
            contract_address: Some("EQ".into()),
            receipt_version: RECEIPT_VERSION,
        },
    }
}

fn assigned(state: AssignmentState) -> InferenceJobStatus {
    InferenceJobStatus {
        start_time: Some(Time(Timestamp::UNIX_EPOCH)),
        agreed: Some(agreed()),
        assignments: vec![Assignment {
            attempt: 1,
            provider: "farm".into(),
            pod: "a".into(),
            pod_uid: "pod".into(),
            agent: "00".repeat(32),
            certificate: None,
            prices: Prices::default(),
            requests: 0,
            completion_tokens: 0,
            nano: NanoTon::ZERO,
            state,
        }],
        ..Default::default()
    }
}

fn failed(codes: &[(u32, FailureCode)]) -> Landing {
    let mut landing = Landing::default();
    let mut chain = ReceiptChain::new(ChainId {
        agent: AgentKey([0; 32]),
        subject: Subject::job(UID, 1),
        channel: None,
    });
    for &(index, code) in codes {
        let outcome = Outcome::Failed {
            code,
            message: AGENTS_WORDS.into(),
        };
        landing
            .accept(
                &mut chain,
                ResultLine {
                    position: index,
                    index,
                    outcome,
                },
                &Terms {
                    custom_ids: vec!["a".into(), "b".into()],
                    bodies: Vec::new(),
                    budget: None,
                    model: Sha256Digest::of(b"model"),
                    prices: Prices::default(),
                    certified: None,
                    limits: LIMITS,
                },
            )
            .unwrap();
    }
    landing
}

struct Case {
    job: ValidatedJob,
    status: InferenceJobStatus,
    offers: Vec<Offer>,
    channel: Option<Channel>,
    agents: Vec<Agent>,
    refused: Option<Refusal>,
    landing: Landing,
    following: Following,
    has_room: bool,
    now: i64,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            job: job(false, None),
            status: InferenceJobStatus::default(),
            offers: vec![offer()],
            channel: Some(reserved()),
            agents: vec![agent(ready(), 0)],
            refused: None,
            landing: Landing::default(),
            following: Following::No,
            has_room: true,
            now: 10,
        }
    }
}

impl Case {
    fn plan(&self) -> Plan {
        plan(&World {
            now: self.now,
            job: &self.job,
            status: &self.status,
            offers: &self.offers,
            channel: self.channel.as_ref(),
            agents: &self.agents,
            refused: self.refused,
            landing: &self.landing,
            following: self.following,
            has_room: self.has_room,
            queue_position: 3,
        })
        .unwrap()
    }

    /// Type and reason of the condition that the job waits for.
    fn waits(&self) -> (&'static str, &'static str, String) {
        let plan = self.plan();
        assert_eq!(plan.step, Step::Wait);
        let condition = plan.conditions.last().unwrap().clone();
        assert_eq!(plan.waiting_for.as_ref(), Some(&condition.message));
        (condition.type_, condition.reason, condition.message)
    }
}
