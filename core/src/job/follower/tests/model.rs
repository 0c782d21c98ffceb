//! A world of one agent, the pages of one job and one ledger, in which everything may drop, repeat, fail and be
//! replaced, the operator may crash between any two writes, and others write the open page and put objects in the way
//! of closed ones.

use std::collections::BTreeMap;

use cocoon_api::crd::output::OutputPage;
use proptest::prelude::*;

use super::*;
use crate::job::landing::{HeadText, Limits, PageText, Reading};

/// So small that a page is full with two answers.
const SMALL: Limits = Limits {
    most_of_page: 4_500,
    page: 2_000,
    job: 1 << 20,
};

/// Steps of one run at most: each round takes about ten, and faults end where the choices do.
const MAX_STEPS: usize = 20_000;

/// Choices of a run; after the last, nothing goes wrong any more.
struct Chance(std::vec::IntoIter<u8>);

impl Chance {
    /// True in `percent` of cases.
    fn happens(&mut self, percent: u8) -> bool {
        self.0.next().is_some_and(|choice| choice % 100 < percent)
    }
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that may have happened to the agent or the job"
)]
struct World {
    now: Duration,
    chance: Chance,
    lines: Vec<ResultLine>,
    /// Lines that the agent has finished.
    finished: usize,
    has_attempt: bool,
    is_cancelled: bool,
    is_replaced: bool,
    /// Next line of the open stream.
    read: usize,
    head: Option<HeadText>,
    version: u32,
    loaded: u32,
    /// Closed pages by name; none where somebody else has the name.
    pages: BTreeMap<String, Option<PageText>>,
    /// What the job's status lists.
    known: Vec<OutputPage>,
    /// Receipts in the ledger, by chain.
    metered: BTreeMap<Subject, u32>,
    has_vanished: bool,
}

impl World {
    fn new(choices: Vec<u8>) -> Self {
        Self {
            now: Duration::ZERO,
            chance: Chance(choices.into_iter()),
            lines: lines(),
            finished: 0,
            has_attempt: false,
            is_cancelled: false,
            is_replaced: false,
            read: 0,
            head: None,
            version: 0,
            loaded: 0,
            pages: BTreeMap::new(),
            known: Vec::new(),
            metered: BTreeMap::new(),
            has_vanished: false,
        }
    }

    /// What comes of an action.
    fn act(&mut self, action: Action, follower: &Follower) -> Event {
        self.now += Duration::from_millis(10);
        match action {
            Action::Load | Action::StorePage | Action::Store | Action::Meter => self.store(action, follower),
            Action::Pause(until) => {
                self.now = self.now.max(until);
                Event::Elapsed
            }
            Action::Read(until) => self.line(until),
            _ if self.chance.happens(10) => Event::Agent(AgentFault::Unreachable),
            _ if self.chance.happens(3) => Event::Agent(AgentFault::Refused(RefusalCode::Busy)),
            Action::Identify => Event::Identity(self.key()),
            Action::Ask | Action::Look => Event::Attempt(self.attempt()),
            Action::Start => {
                self.has_attempt = true;
                Event::Attempt(self.attempt())
            }
            Action::Cancel => {
                self.is_cancelled = true;
                Event::Attempt(self.attempt())
            }
            Action::Open => {
                self.read = 0;
                Event::Opened
            }
            Action::End(_) => unreachable!("the run is over"),
        }
    }

    fn key(&self) -> AgentKey {
        if self.is_replaced {
            ReceiptSigner::from_seed([9; 32]).key()
        } else {
            signer().key()
        }
    }

    fn attempt(&mut self) -> Option<AttemptProgress> {
        if self.chance.happens(1) {
            self.is_replaced = true;
        }
        if self.chance.happens(1) {
            // The same process, without the attempt.
            self.has_attempt = false;
            self.finished = 0;
        }
        if self.is_replaced || !self.has_attempt {
            return None;
        }
        let done = u32::try_from(self.finished).unwrap();
        let state = match (self.finished == self.lines.len(), self.is_cancelled) {
            (true, _) => AttemptState::Finished,
            (false, true) => AttemptState::Cancelled,
            (false, false) => AttemptState::Running,
        };
        let mut said = progress(state, done);
        if state == AttemptState::Cancelled {
            said.total = done;
        }
        Some(said)
    }

    fn line(&mut self, until: Duration) -> Event {
        if self.chance.happens(5) {
            return Event::Agent(AgentFault::Unreachable);
        }
        if self.chance.happens(20) {
            self.now = self.now.max(until);
            return Event::Elapsed;
        }
        if self.is_replaced || !self.has_attempt {
            return Event::EndOfStream;
        }
        if self.read < self.finished {
            self.read += 1;
            return Event::Line(Some(Box::new(self.lines[self.read - 1].clone())));
        }
        if self.finished == self.lines.len() || self.is_cancelled {
            return Event::EndOfStream;
        }
        if !self.chance.happens(40) {
            self.finished += 1;
        }
        self.now += seconds(1);
        Event::Line(None)
    }

    fn store(&mut self, action: Action, follower: &Follower) -> Event {
        if self.chance.happens(10) {
            // The write may have taken effect all the same.
            let has_effect = self.chance.happens(50);
            if has_effect && action == Action::Store && self.loaded == self.version {
                self.write_head(follower);
            } else if has_effect && action == Action::StorePage {
                self.write_page(follower);
            }
            return Event::Failed(StoreFault::Later);
        }
        if self.chance.happens(3) {
            // Somebody writes the open page as it is.
            self.version += 1;
        }
        match action {
            Action::Load => {
                self.loaded = self.version;
                Event::Loaded(Box::new(self.stored()))
            }
            Action::StorePage => self.write_page(follower),
            Action::Store if self.loaded != self.version => Event::Overtaken,
            Action::Store => {
                assert!(!self.has_vanished, "a job that is gone gets no results");
                self.write_head(follower);
                self.loaded = self.version;
                if self.chance.happens(50) {
                    // The status follows, sooner or later.
                    self.known = self.stored().closed().to_vec();
                }
                Event::Stored
            }
            _ => {
                for counter in follower.landing().counters("job").unwrap() {
                    let held = self.metered.entry(counter.subject).or_default();
                    *held = counter.count.max(*held);
                }
                self.check_metered();
                Event::Metered
            }
        }
    }

    fn write_head(&mut self, follower: &Follower) {
        self.head = Some(follower.landing().head());
        self.version += 1;
    }

    fn write_page(&mut self, follower: &Follower) -> Event {
        let page = follower.page().unwrap();
        assert!(page.text.len() <= SMALL.most_of_page);
        if self.chance.happens(10) {
            self.pages.entry(page.name.clone()).or_insert(None);
        }
        let text = page.text.as_ref().clone();
        let found = self.pages.entry(page.name.clone()).or_insert(Some(text.clone()));
        if *found == Some(text) {
            Event::PageStored { name: page.name }
        } else {
            Event::PageTaken
        }
    }

    /// What whoever reads the pages finds. All that the status lists must be there.
    fn stored(&self) -> Landing {
        let mut reading = Reading::new(self.head.as_ref(), &self.known).unwrap();
        while let Some(name) = reading.wanted() {
            let text = self.pages[name].as_ref().expect("the page is the job's");
            reading.take(text).unwrap();
        }
        reading.landing()
    }

    /// Nothing is metered that was not stored.
    fn check_metered(&self) {
        let billed = u32::try_from(self.stored().billed().count()).unwrap();
        let metered: u32 = self.metered.values().sum();
        assert!(metered <= billed, "{metered} metered of {billed} stored");
    }
}

fn paged() -> Order {
    let mut order = order();
    order.terms.limits = SMALL;
    order
}

/// Runs to the end; answers how it ended, and the world.
fn run(choices: Vec<u8>, stop_at: Option<usize>, vanish_at: Option<usize>) -> (Following, World) {
    let mut world = World::new(choices);
    let mut follower = Follower::new(paged(), Duration::ZERO);
    let mut is_stopped = false;
    for step in 0..MAX_STEPS {
        let action = follower.action();
        if let Action::End(following) = action {
            return (following, world);
        }
        if stop_at == Some(step) {
            is_stopped = true;
            follower.on(Event::Stop, world.now);
            continue;
        }
        if vanish_at == Some(step) {
            world.has_vanished = true;
            follower.on(Event::Vanished, world.now);
            continue;
        }
        if !world.has_vanished && world.chance.happens(2) {
            // The operator crashes. Its successor knows what is stored and what is asked of it.
            follower = Follower::new(paged(), world.now);
            if is_stopped {
                follower.on(Event::Stop, world.now);
            }
            continue;
        }
        let event = world.act(action, &follower);
        follower.on(event, world.now);
    }
    panic!("{MAX_STEPS} steps and no end: {:?}", follower.action());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_drops_repeats_fails_or_is_replaced_what_is_delivered_is_stored_and_metered_once(
        choices in proptest::collection::vec(any::<u8>(), 0..400),
        stop_at in proptest::option::of(0..60usize),
        vanish_at in proptest::option::of(0..60usize),
    ) {
        let (following, world) = run(choices, stop_at, vanish_at);
        let stored = world.stored();
        let billed = u32::try_from(stored.billed().count()).unwrap();
        let metered: u32 = world.metered.values().sum();
        prop_assert_eq!(stored.nano().unwrap(), NanoTon::from_nano(20 * u64::from(billed)).unwrap());
        prop_assert!(metered <= billed);
        prop_assert_eq!(billed, stored.succeeded());
        if following == Following::Ended && vanish_at.is_none() {
            prop_assert_eq!(metered, billed);
            if stop_at.is_none() {
                prop_assert_eq!(billed, REQUESTS);
            }
        }
        prop_assert!(stored.closed().len() >= usize::from(billed == REQUESTS), "two answers fill a page");
        if following == Following::Replaced {
            prop_assert!(world.is_replaced || !world.has_attempt);
        }
    }

    #[test]
    fn without_faults_every_attempt_ends_with_all_its_answers(waits in 0..5usize) {
        // Choices that only make the agent slow.
        let (following, world) = run(vec![99; waits], None, None);
        prop_assert_eq!(following, Following::Ended);
        prop_assert_eq!(world.metered.values().sum::<u32>(), REQUESTS);
    }

    #[test]
    fn any_sequence_of_events_leads_somewhere(events in proptest::collection::vec(0..16u8, 0..60)) {
        let mut follower = Follower::new(order(), Duration::ZERO);
        for (number, event) in (0u64..).zip(events) {
            let event = match event {
                0 => Event::Loaded(Box::default()),
                1 => Event::Stored,
                2 => Event::Overtaken,
                3 => Event::Metered,
                4 => Event::Failed(StoreFault::Later),
                5 => Event::Attempt(None),
                6 => Event::Attempt(Some(progress(AttemptState::Running, 0))),
                7 => Event::Identity(signer().key()),
                8 => Event::Opened,
                9 => Event::Line(Some(Box::new(lines().remove(0)))),
                10 => Event::EndOfStream,
                11 => Event::Agent(AgentFault::Unreachable),
                12 => Event::Elapsed,
                13 => Event::PageTaken,
                14 => Event::PageStored { name: "j-1".into() },
                _ => Event::Stop,
            };
            follower.on(event, seconds(number));
            let _ = follower.action();
        }
    }
}
