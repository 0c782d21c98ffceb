//! The operator: looks, plans, meters, claims, by the decisions of the crate and nothing else.

use std::collections::BTreeMap;

use cocoon_api::{
    Bill, NanoTon, Subject, Usage, conditions,
    crd::{
        AgreedTerms, Agreement, InferenceJob, InferenceJobStatus,
        channel::Counter,
        job::{Assignment, AssignmentState},
    },
    receipt::{RECEIPT_VERSION, Sha256Digest},
    units::Prices,
};
use cocoon_core::{
    agents::{AgentPod, AgentState},
    funds::{
        CLAIM_SECONDS, Clock, Departure, Escrow, Facts, Leaving, Payee, Sight, Signature, Stage, Terms,
        depart, evidence, is_behind, judge,
    },
    job::{
        input::InputSummary,
        landing::Landing,
        plan::{Agent, Channel, Following, Offer, Plan, Step, World as Seen, plan},
        validate::{ValidatedJob, validate},
    },
    ledger,
    settlement::{Candidate, Decision, FeeRatio, MAX_REDEEMS, Policy, REDEEM_FEE, decide, still_claimable},
};
use k8s_openapi::jiff::Timestamp;

use super::{Job, ROUND, UNIT, World, contract::WINDOW, nano};

impl World {
    /// One round of all controllers: look, plan every job, meter, settle, let go.
    pub(super) fn round(&mut self) -> Result<(), String> {
        self.look()?;
        for index in 0..self.cluster.jobs.len() {
            for _ in 0..3 {
                if !self.step(index)? {
                    break;
                }
            }
        }
        self.settle()?;
        self.look()?;
        self.let_go()
    }

    /// The channel controller.
    fn look(&mut self) -> Result<(), String> {
        let Some(mut channel) = self.cluster.channel.clone() else {
            return Ok(());
        };
        let mut status = channel.status.take().unwrap_or_default();
        let before = evidence(&status, self.now).cloned();
        let voucher = channel.spec.voucher.as_ref();
        let shown = self.lie.take().map_or(self.contract.redeemed, |lie| {
            self.contract.redeemed.saturating_add_signed(lie)
        });
        let facts = Facts {
            sight: Sight::Escrow(Escrow {
                stage: self.contract.stage,
                epoch: self.contract.epoch,
                redeemed: nano(shown),
                available: nano(self.contract.available),
                payer_key: "payer".into(),
                provider: "0:farm".into(),
                claimer: "0:claimer".into(),
                challenge_period: WINDOW,
            }),
            granted: true,
            payee: Some(Payee {
                address: "0:farm".into(),
                claimer: "0:claimer".into(),
            }),
            signature: match voucher {
                None => Signature::Missing,
                Some(voucher) if self.signed.contains(voucher) => Signature::Genuine,
                Some(_) => Signature::Forged,
            },
            wallet: None,
            terms: Terms {
                min_challenge_seconds: WINDOW,
                min_voucher_seconds: 300,
            },
            acknowledged: nano(self.acknowledged),
            rebuilt: self.rebuilt,
            leaving: channel.metadata.deletion_timestamp.is_some(),
            clock: Clock {
                own: self.now,
                chain: Some(self.now),
            },
        };
        let was_behind = is_behind(&status);
        judge(&channel.spec, &status, &facts)
            .and_then(|standing| standing.write(&mut status, None, Timestamp::UNIX_EPOCH))
            .map_err(|error| error.to_string())?;
        if status.epoch == before.as_ref().map(|before| before.epoch)
            && let Some(before) = before
            && evidence(&status, self.now).is_none_or(|now| now.cap_nano < before.cap_nano)
        {
            return Err(format!("evidence was lost: {before:?}"));
        }
        let reason = |type_| conditions::find(&status.conditions, type_).map(|found| found.reason.clone());
        if reason("LedgerCurrent").as_deref() != Some("ReadingRefused") {
            self.seen_at = Some(self.now);
        }
        if is_behind(&status) {
            self.did.behind += 1;
        } else if was_behind && self.rebuilt.is_some() {
            self.did.rebuilt += 1;
        }
        if self.contract.stage == Stage::Closed {
            self.did.closed += 1;
        }
        channel.status = Some(status);
        self.cluster.channel = Some(channel);
        Ok(())
    }

    /// The job controller; answers whether there may be more to do.
    fn step(&mut self, index: usize) -> Result<bool, String> {
        let job = self.cluster.jobs[index].clone();
        if job.ended {
            return Ok(false);
        }
        let number = job.number;
        let Bill::Job { uid: job_uid } = &job.bill else {
            return self.serve(index);
        };
        let has_begun = self.agents[number].contains_key(&job.attempts);
        let planned = self.plan(&job, job_uid, has_begun)?;
        self.cluster.jobs[index].channel_uid = planned.channel_uid;
        match planned.step {
            Step::Wait | Step::Fence { .. } => Ok(false),
            Step::Reserve { uid, budget, .. } => {
                if let Some(channel) = &mut self.cluster.channel
                    && channel.metadata.uid.as_deref() == Some(&uid)
                {
                    let status = channel.status.get_or_insert_default();
                    let reserved = ledger::reserve(status, &job.bill, job_uid, budget);
                    drop(reserved.map_err(|error| error.to_string())?);
                }
                Ok(true)
            }
            Step::Assign { .. } => {
                self.must_be_covered(&job.bill)?;
                self.cluster.jobs[index].active = true;
                // A number that the agent does not know: after a restore it may know more than the cluster.
                let known = self.agents[number].keys().max().copied().unwrap_or_default();
                self.cluster.jobs[index].attempts = known.max(job.attempts) + 1;
                Ok(true)
            }
            Step::Follow { may_begin, .. } => {
                if may_begin && !has_begun {
                    self.must_be_covered(&job.bill)?;
                    self.did.begun += 1;
                    self.agents[number].insert(job.attempts, 0);
                }
                self.deliver(index);
                Ok(false)
            }
            Step::Cancel { .. } => {
                self.did.stopped += 1;
                self.land(index);
                self.cluster.jobs[index].active = false;
                Ok(true)
            }
            Step::Close { .. } => {
                self.cluster.jobs[index].active = false;
                Ok(true)
            }
            Step::Release => {
                self.release(index);
                Ok(false)
            }
            Step::Finish(_) => {
                self.finish(index);
                Ok(false)
            }
        }
    }

    /// The plan of a job as everything is now.
    fn plan(&self, job: &Job, uid: &str, has_begun: bool) -> Result<Plan, String> {
        let channel = self.cluster.channel.as_ref().map(|channel| Channel {
            uid: channel.metadata.uid.clone().unwrap_or_default(),
            provider: "farm".into(),
            address: "0:00".into(),
            deleting: channel.metadata.deletion_timestamp.is_some(),
            seen_at: self.seen_at,
            now: self.now,
            status: channel.status.clone().unwrap_or_default(),
        });
        let status = InferenceJobStatus {
            channel_uid: job.channel_uid.clone(),
            agreed: (job.attempts > 0).then(agreement),
            assignments: (1..=job.attempts)
                .map(|attempt| assignment(attempt, job.active && attempt == job.attempts))
                .collect(),
            ..InferenceJobStatus::default()
        };
        plan(&Seen {
            now: self.now,
            job: &valid(uid, job.budget),
            status: &status,
            offers: &[offer()],
            channel: channel.as_ref(),
            agents: &[agent()],
            refused: None,
            landing: &Landing::default(),
            following: if has_begun { Following::Yes } else { Following::No },
            has_room: true,
            queue_position: 0,
        })
        .map_err(|error| error.to_string())
    }

    /// The rule for what begins, against the contract itself.
    pub(super) fn must_be_covered(&self, bill: &Bill) -> Result<(), String> {
        if self.lying {
            return Ok(());
        }
        let status = self
            .cluster
            .channel
            .as_ref()
            .and_then(|channel| channel.status.clone())
            .unwrap_or_default();
        let good = |voucher: &&cocoon_api::crd::channel::Voucher| {
            voucher.epoch == self.contract.epoch && i64::from(voucher.valid_until) > self.now + CLAIM_SECONDS
        };
        let cap = status
            .vouchers
            .iter()
            .filter(good)
            .map(|voucher| voucher.cap_nano.nano())
            .max();
        let covered = cap
            .unwrap_or_default()
            .min(self.contract.redeemed + self.contract.available);
        let own = ledger::reserved(&status, bill).unwrap_or_default();
        let metered = ledger::accrued(&status).map_err(|error| error.to_string())?;
        let used = ledger::used(&status, bill).map_err(|error| error.to_string())?;
        let may_come_to = metered.nano() + own.saturating_sub(used).nano();
        if self.contract.stage != Stage::Open
            || is_behind(&status)
            || own == NanoTon::ZERO
            || may_come_to > covered
        {
            return Err(format!(
                "{bill} begins: {may_come_to} of {covered}, {:?}",
                self.contract.stage
            ));
        }
        Ok(())
    }

    /// The agent delivers some more, at most the budget, and the operator lands and meters it.
    pub(super) fn deliver(&mut self, index: usize) {
        let job = &self.cluster.jobs[index];
        let elsewhere: u64 = job
            .landed
            .iter()
            .filter(|(attempt, _)| **attempt != job.attempts)
            .map(|(_, landed)| landed)
            .sum();
        let more = self.random.below(3) * UNIT / 2;
        if let Some(delivered) = self.agents[job.number].get_mut(&job.attempts) {
            *delivered = (*delivered + more)
                .min(job.budget.saturating_sub(elsewhere))
                .max(*delivered);
        }
        self.land(index);
    }

    /// Lands what the agent of the active attempt has, and meters it: on the object that holds the budget, and not
    /// while the ledger is behind.
    fn land(&mut self, index: usize) {
        let job = &mut self.cluster.jobs[index];
        let delivered = self.agents[job.number].get(&job.attempts);
        if let Some(delivered) = delivered.filter(|_| job.active) {
            job.landed.insert(job.attempts, *delivered);
        }
        let Some(channel) = &mut self.cluster.channel else {
            return;
        };
        let status = channel.status.get_or_insert_default();
        if job.channel_uid != channel.metadata.uid || is_behind(status) {
            return;
        }
        let is_session = job.bill.job_uid().is_none();
        // A session that left the ledger has been metered, whatever an agent says of it later.
        if is_session && !ledger::holds(status, &job.bill) {
            return;
        }
        for (&attempt, &landed) in job.landed.iter().filter(|(_, landed)| **landed > 0) {
            let subject = match &job.bill {
                Bill::Job { uid } => Subject::job(uid, attempt),
                Bill::Session { id } => Subject::session(id),
            };
            let counter = Counter {
                agent: "agent".into(),
                subject,
                name: "work".into(),
                count: u32::try_from(landed / (UNIT / 2)).unwrap_or(u32::MAX),
                usage: Usage::default(),
                nano: nano(landed),
                head: String::new(),
            };
            let is_news = ledger::merge(status, counter).expect("the ledger of the model has room");
            self.did.sessions += u64::from(is_session && is_news);
        }
        ledger::recompute(status, self.now).expect("amounts of the model are small");
    }

    fn release(&mut self, index: usize) {
        let bill = &self.cluster.jobs[index].bill;
        if let Some(status) = self
            .cluster
            .channel
            .as_mut()
            .and_then(|channel| channel.status.as_mut())
        {
            ledger::release(status, bill);
        }
    }

    pub(super) fn finish(&mut self, index: usize) {
        let is_stuck = self
            .cluster
            .channel
            .as_ref()
            .is_some_and(|channel| channel.status.as_ref().is_some_and(is_behind));
        self.land(index);
        // Usage that cannot be metered yet keeps the job from ending.
        if is_stuck && self.cluster.jobs[index].channel_uid.is_some() {
            return;
        }
        self.release(index);
        self.cluster.jobs[index].active = false;
        self.cluster.jobs[index].ended = true;
    }

    /// The settlement controller, whose message lands at once.
    fn settle(&mut self) -> Result<(), String> {
        let Some(channel) = &mut self.cluster.channel else {
            return Ok(());
        };
        let leaves = channel.metadata.deletion_timestamp.is_some();
        let Some(candidate) = Candidate::of(channel, leaves, self.now).map_err(|error| error.to_string())?
        else {
            return Ok(());
        };
        let policy = Policy {
            threshold: nano(2 * UNIT),
            max_age: 10 * ROUND,
            max_fee_ratio: FeeRatio::ONE,
            redeem_fee: REDEEM_FEE,
        };
        let decided = decide(vec![candidate], &BTreeMap::new(), &policy, MAX_REDEEMS, self.now);
        let Decision::Settle(claims) = decided.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        for claim in claims {
            let status = channel.status.get_or_insert_default();
            let Some(voucher) = evidence(status, self.now).cloned() else {
                return Err("a claim without evidence".to_owned());
            };
            if claim.claim > voucher.cap_nano || !self.signed.contains(&voucher) {
                return Err(format!("{} is claimed with {voucher:?}", claim.claim));
            }
            // What the operator checks right before it signs.
            if claim.redeemed.nano() != self.contract.redeemed {
                continue;
            }
            status.claimed_nano = status.claimed_nano.max(claim.claim);
            if self.contract.redeem(&voucher, claim.claim.nano(), self.now) {
                self.did.paid += 1;
                status.redeemed_nano = claim.claim;
                status.deposit_nano = nano(self.contract.available);
                ledger::recompute(status, self.now).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Whether the object may go, and the payer's next one.
    fn let_go(&mut self) -> Result<(), String> {
        let Some(channel) = &self.cluster.channel else {
            return Ok(());
        };
        let Some(deleted_at) = &channel.metadata.deletion_timestamp else {
            return Ok(());
        };
        let status = channel.status.clone().unwrap_or_default();
        let accrued = ledger::accrued(&status).map_err(|error| error.to_string())?;
        let claimable = still_claimable(channel, REDEEM_FEE, self.now).map_err(|error| error.to_string())?;
        let departure = depart(Leaving {
            age: self.now - deleted_at.0.as_second(),
            abandoned: false,
            busy: !status.reservations.is_empty(),
            in_flight: false,
            has_provider: true,
            has_wallet: true,
            outstanding: accrued.saturating_sub(status.redeemed_nano),
            claimable,
        });
        match departure {
            Departure::Wait(_) => Ok(()),
            Departure::WriteOff { amount, why } if !self.lying && !self.is_restored => {
                Err(format!("{amount} written off: {why}"))
            }
            Departure::Settled | Departure::WriteOff { .. } => {
                self.tell("the object is gone, and made again");
                self.did.replaced += 1;
                self.apply_object();
                self.look()
            }
        }
    }
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

fn agreement() -> Agreement {
    let Offer { provider, prices, .. } = offer();
    Agreement {
        provider,
        model_sha256: "00".repeat(32),
        prices,
        terms: AgreedTerms {
            contract_address: Some("0:00".into()),
            receipt_version: RECEIPT_VERSION,
        },
    }
}

fn agent() -> Agent {
    let address = "10.0.0.1".parse().expect("an address");
    Agent {
        pod: AgentPod {
            name: "agent".into(),
            uid: "pod".into(),
            model: "m".into(),
            state: AgentState::Ready(address),
            address: Some(address),
            displaced: false,
        },
        active: 0,
    }
}

fn assignment(attempt: u32, is_active: bool) -> Assignment {
    Assignment {
        attempt,
        provider: "farm".into(),
        pod: "agent".into(),
        pod_uid: "pod".into(),
        agent: "00".repeat(32),
        certificate: None,
        prices: offer().prices,
        requests: 0,
        completion_tokens: 0,
        nano: NanoTon::ZERO,
        state: if is_active {
            AssignmentState::Active
        } else {
            AssignmentState::Suspended
        },
    }
}

/// A job of one request. Reading one takes longer than all else, so that each thread reads it once.
fn valid(uid: &str, budget: u64) -> ValidatedJob {
    thread_local! {
        static SMALLEST: ValidatedJob = smallest();
    }
    let mut valid = SMALLEST.with(ValidatedJob::clone);
    uid.clone_into(&mut valid.uid);
    valid.billing = cocoon_core::job::validate::Billing::Channel {
        name: "payer".into(),
        budget: nano(budget),
        max_prices: None,
    };
    valid
}

fn smallest() -> ValidatedJob {
    let job: InferenceJob = serde_json::from_value(serde_json::json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
        "metadata": {"name": "j", "uid": "u"},
        "spec": {"model": "m", "endpoint": "/v1/completions", "input": {"inline": [{"prompt": "a"}]},
                 "billing": {"mode": "Channel", "channelRef": {"name": "payer"}, "maxNano": 1}},
    }))
    .expect("a manifest");
    let input = InputSummary {
        total: 1,
        digest: Sha256Digest::of(b"input"),
    };
    validate(&job, &Ok(input)).expect("a sound job")
}
