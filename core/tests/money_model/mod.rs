//! The world of the model: payer, contract, agents, cluster and operator.

mod contract;
mod operator;
mod random;
mod session;

use std::collections::BTreeMap;

use cocoon_api::{
    Bill, NanoTon,
    crd::{PaymentChannel, PaymentChannelSpec, ProviderReference, channel::Voucher, provider::Rebuilt},
};
use cocoon_core::{funds, ledger};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use contract::Contract;
use random::Random;

/// Amounts are multiples of this, so that fees are beside the point.
const UNIT: u64 = 100_000_000;
/// Events of one sequence.
const EVENTS: usize = 14;
/// Seconds between two rounds of the operator.
const ROUND: i64 = 60;
/// When it begins.
const START: i64 = 1_800_000_000;

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).expect("amounts of the model are small")
}

/// How often what happened that makes a run worth something.
#[derive(Debug, Clone, Copy, Default)]
pub struct Did {
    begun: u64,
    paid: u64,
    stopped: u64,
    behind: u64,
    replaced: u64,
    closed: u64,
    rebuilt: u64,
    /// Sessions that were metered.
    sessions: u64,
}

impl Did {
    /// Sums up.
    pub fn add(&mut self, other: Self) {
        self.begun += other.begun;
        self.paid += other.paid;
        self.stopped += other.stopped;
        self.behind += other.behind;
        self.replaced += other.replaced;
        self.closed += other.closed;
        self.rebuilt += other.rebuilt;
        self.sessions += other.sessions;
    }

    /// Whether every rule was put to the test a good number of times.
    pub fn is_telling(self) -> bool {
        [
            self.begun,
            self.paid,
            self.stopped,
            self.behind,
            self.replaced,
            self.closed,
            self.rebuilt,
            self.sessions,
        ]
        .into_iter()
        .all(|count| count >= 100)
    }
}

/// A job, or a session, with its results, as far as the cluster knows them, and its agent.
#[derive(Debug, Clone)]
struct Job {
    bill: Bill,
    /// Place among all that were submitted.
    number: usize,
    budget: u64,
    /// In the results, by attempt.
    landed: BTreeMap<u32, u64>,
    /// The last attempt is recorded as active.
    active: bool,
    /// Number of the last attempt.
    attempts: u32,
    channel_uid: Option<String>,
    ended: bool,
}

/// What lies in etcd.
#[derive(Debug, Clone)]
struct Cluster {
    channel: Option<PaymentChannel>,
    jobs: Vec<Job>,
}

/// Everything.
pub struct World {
    random: Random,
    now: i64,
    contract: Contract,
    cluster: Cluster,
    backup: Option<Cluster>,
    /// What agents delivered of each job, by attempt. They remember it whatever becomes of the cluster.
    agents: Vec<BTreeMap<u32, u64>>,
    /// What was ever submitted.
    bills: Vec<Bill>,
    signed: Vec<Voucher>,
    objects: u32,
    /// Chain time of the last believed look since the operator started.
    seen_at: Option<i64>,
    acknowledged: u64,
    /// What the provider proved last from the receipts that were kept.
    rebuilt: Option<Rebuilt>,
    /// Redeemed by somebody else with the wallet's key.
    foreign: u64,
    lying: bool,
    lie: Option<i64>,
    /// The farm lost track by its own fault: a backup or a second operator.
    is_restored: bool,
    /// What this sequence did.
    pub did: Did,
    story: Vec<String>,
}

impl World {
    /// A channel in order.
    pub fn new(seed: u64, lying: bool) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            now: START,
            contract: Contract::new(10 * UNIT),
            cluster: Cluster {
                channel: None,
                jobs: Vec::new(),
            },
            backup: None,
            agents: Vec::new(),
            bills: Vec::new(),
            signed: Vec::new(),
            objects: 0,
            seen_at: None,
            acknowledged: 0,
            rebuilt: None,
            foreign: 0,
            lying,
            lie: None,
            is_restored: false,
            did: Did::default(),
            story: Vec::new(),
        };
        world.sign(6, 3_000, 0);
        world.apply_object();
        world
    }

    /// What happened, for people.
    pub fn story(&self) -> &[String] {
        &self.story
    }

    /// Lets everything happen; the words say which rule broke.
    pub fn run(&mut self) -> Result<(), String> {
        self.round()?;
        for _ in 0..EVENTS {
            let event = self.random.below(if self.lying { 18 } else { 16 });
            self.event(event);
            self.check()?;
            for _ in 0..=self.random.below(3) {
                self.now += ROUND;
                self.contract.pass(self.now);
                self.round()?;
                self.check()?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, what: impl Into<String>) {
        let line = format!("{:>5} {}", self.now - START, what.into());
        self.story.push(line);
    }

    fn event(&mut self, event: u64) {
        let amount = self.random.below(9) + 1;
        match event {
            0..=2 => self.submit(amount),
            3 => self.sign(amount + 3, 600 + 400 * i64::try_from(amount).unwrap_or(1), 0),
            4 => self.sign(amount, 30, 0),
            5 => self.sign(amount, 3_000, 1),
            6 => self.spoil(),
            7 => {
                self.tell("close");
                self.contract.close(self.now);
            }
            8 => {
                self.tell("top up");
                self.contract.top_up(amount * UNIT);
            }
            9 => self.delete_object(),
            10 => self.back_up_or_restore(),
            11 => {
                self.tell("operator restarts");
                self.seen_at = None;
            }
            12 => {
                self.tell("acknowledged");
                self.acknowledged = self.contract.redeemed;
            }
            13 => self.claim_elsewhere(amount * UNIT),
            14 => self.finish_one(),
            15 => self.rebuild(),
            _ => {
                let shift = i64::try_from(amount * UNIT).unwrap_or(1);
                let shift = if event == 16 { shift } else { -shift };
                self.tell(format!("endpoints lie by {shift}"));
                self.lie = Some(shift);
            }
        }
    }

    fn submit(&mut self, amount: u64) {
        if self.cluster.jobs.iter().filter(|job| !job.ended).count() >= 3 {
            return;
        }
        let number = self.bills.len();
        // Every third is a session, which has the UID of the job before as its id: nothing may take the one for the
        // other.
        let bill = if number % 3 == 2 {
            Bill::session(format!("id-{}", number - 1))
        } else {
            Bill::job(format!("id-{number}"))
        };
        self.tell(format!("submit {bill} for {amount}"));
        self.agents.push(BTreeMap::new());
        self.bills.push(bill.clone());
        self.cluster.jobs.push(Job {
            bill,
            number,
            budget: amount * UNIT,
            landed: BTreeMap::new(),
            active: false,
            attempts: 0,
            channel_uid: None,
            ended: false,
        });
    }

    /// The payer signs a voucher and puts it into the specification, if the API server takes it.
    fn sign(&mut self, cap: u64, valid_for: i64, epochs_ahead: u32) {
        let voucher = Voucher {
            cap_nano: nano(cap * UNIT),
            valid_until: u32::try_from(self.now + valid_for).unwrap_or(u32::MAX),
            epoch: self.contract.epoch + epochs_ahead,
            signature: format!("signed {}", self.signed.len()),
        };
        self.tell(format!("sign {cap} for {valid_for} s, epoch {}", voucher.epoch));
        self.signed.push(voucher.clone());
        if let Some(channel) = &mut self.cluster.channel {
            channel.spec.voucher = Some(voucher);
        }
    }

    fn spoil(&mut self) {
        self.tell("spoil the voucher");
        if let Some(channel) = &mut self.cluster.channel
            && let Some(voucher) = &mut channel.spec.voucher
        {
            voucher.signature = "spoiled".into();
        }
    }

    fn apply_object(&mut self) {
        self.objects += 1;
        let spec = PaymentChannelSpec {
            provider: ProviderReference {
                name: "farm".into(),
                namespace: None,
            },
            network: "testbed".into(),
            contract_address: "0:00".into(),
            payer_public_key: "payer".into(),
            binding: None,
            voucher: self.signed.last().cloned(),
        };
        let mut channel = PaymentChannel::new("payer", spec);
        channel.metadata.uid = Some(format!("channel-{}", self.objects));
        self.cluster.channel = Some(channel);
        self.seen_at = None;
    }

    fn delete_object(&mut self) {
        self.tell("delete the object");
        let now = Timestamp::from_second(self.now).unwrap_or_default();
        if let Some(channel) = &mut self.cluster.channel {
            channel.metadata.deletion_timestamp.get_or_insert(Time(now));
        }
    }

    fn back_up_or_restore(&mut self) {
        match self.backup.take() {
            None => {
                self.tell("back up");
                self.backup = Some(self.cluster.clone());
            }
            Some(backup) => {
                self.tell("restore from backup");
                self.cluster = backup;
                // Agents know what they delivered; jobs that etcd does not know are nobody's.
                self.seen_at = None;
                self.is_restored = true;
            }
        }
    }

    /// The provider keeps every receipt of its agents, and proves from them what a restored ledger lost.
    fn rebuild(&mut self) {
        let Some(channel) = &self.cluster.channel else {
            return;
        };
        let status = channel.status.clone().unwrap_or_default();
        if !funds::is_behind(&status) {
            return;
        }
        let (mut finished, mut gone, mut open) = (0, 0, 0);
        for (number, attempts) in self.agents.iter().enumerate() {
            let bill = &self.bills[number];
            let delivered: u64 = attempts.values().sum();
            let job = self.cluster.jobs.iter().find(|job| job.bill == *bill);
            // Of a session there is no object to ask: there is what the ledger holds.
            let job = job.filter(|_| bill.job_uid().is_some() || ledger::holds(&status, bill));
            let used = ledger::used(&status, bill).unwrap_or_default().nano();
            match job {
                None if ledger::holds(&status, bill) => {}
                None => gone += delivered,
                Some(job) if job.channel_uid.is_some() && job.channel_uid != channel.metadata.uid => {}
                Some(job) if job.ended && used > 0 => {}
                Some(job) if job.ended => finished += job.landed.values().sum::<u64>(),
                Some(job) => open += delivered.min(job.budget).saturating_sub(used),
            }
        }
        self.tell(format!(
            "rebuilt: {finished} of finished jobs, {gone} of jobs that are gone, {open} of others"
        ));
        self.rebuilt = Some(Rebuilt {
            redeemed_nano: nano(self.contract.redeemed),
            finished_nano: nano(finished),
            gone_nano: nano(gone),
            open_nano: nano(open),
        });
    }

    /// A second operator with the same wallet claims for work of its own.
    fn claim_elsewhere(&mut self, amount: u64) {
        let claim = self.contract.redeemed + amount;
        let paid = self
            .signed
            .iter()
            .any(|voucher| self.contract.redeem(voucher, claim, self.now));
        if paid {
            self.tell(format!("claimed elsewhere: {amount}"));
            self.foreign += amount;
            self.is_restored = true;
        }
    }

    fn finish_one(&mut self) {
        let running = (0..self.cluster.jobs.len()).find(|&index| self.cluster.jobs[index].active);
        if let Some(index) = running {
            self.tell(format!("{} finishes", self.cluster.jobs[index].bill));
            self.finish(index);
        }
    }

    /// What must always hold.
    fn check(&mut self) -> Result<(), String> {
        let delivered: u64 = self.agents.iter().flat_map(BTreeMap::values).sum();
        if self.contract.redeemed > self.foreign + delivered {
            return Err(format!(
                "the payer was charged {}, and {delivered} were delivered, {} claimed elsewhere",
                self.contract.redeemed, self.foreign
            ));
        }
        let cap = self.signed.iter().map(|voucher| voucher.cap_nano.nano()).max();
        if self.contract.redeemed > cap.unwrap_or_default() {
            return Err("more was redeemed than the payer ever allowed".to_owned());
        }
        if let Some(channel) = &self.cluster.channel {
            let status = channel.status.clone().unwrap_or_default();
            for kept in &status.vouchers {
                if !self.signed.contains(kept) {
                    return Err(format!("{kept:?} is kept, and the payer never signed it"));
                }
            }
            if let Some(evidence) = funds::evidence(&status, self.now)
                && status.accrued_nano > evidence.cap_nano
                && !self.is_restored
                && !self.lying
                && status.accrued_nano.nano() > self.contract.redeemed + self.contract.available
            {
                return Err(format!(
                    "{} was metered beyond what covers it",
                    status.accrued_nano
                ));
            }
        }
        Ok(())
    }
}
