use proptest::{collection::vec, prelude::*};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, channel, unbounded_channel};

use super::*;
use crate::{
    backend::{
        DeviceError, DeviceFault, ForwardError, Limits, Logits, Penalties, Sampled, Sampling, cpu::CpuOps,
    },
    engine::request::FinishReason,
    model::{decoder::Decoder, tiny},
};

/// Turns after which an engine that has not ended runs in circles: far more than all tokens of the largest case.
const MOST_TURNS: usize = 4_000;

/// The model of these tests.
fn model() -> &'static tiny::Model {
    static MODEL: OnceLock<tiny::Model> = OnceLock::new();
    MODEL.get_or_init(|| tiny::Model::new(|_, _| {}))
}

/// A device that fails at one of its steps, with the error that it would give.
struct Failing {
    inner: Decoder<CpuOps>,
    steps_left: usize,
    error: ForwardError,
}

impl Backend for Failing {
    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn check(&mut self) -> Result<(), DeviceError> {
        match (self.steps_left, &self.error) {
            (0, ForwardError::Device(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn step(&mut self, batch: &Batch, specs: &[SampleSpec<'_>]) -> Result<&Sampled, ForwardError> {
        if self.steps_left == 0 {
            return Err(self.error.clone());
        }
        self.steps_left -= 1;
        self.inner.step(batch, specs)
    }

    fn logits(&mut self, batch: &Batch) -> Result<Logits<'_>, ForwardError> {
        self.inner.logits(batch)
    }
}

fn lost() -> ForwardError {
    let what = "a launch".to_owned();
    let fault = DeviceFault::Lost;
    ForwardError::Device(DeviceError { fault, what })
}

/// An engine that is driven by hand.
struct Driven {
    runner: Option<Runner>,
    submissions: Sender<Submission>,
    figures: Arc<Figures>,
}

impl Driven {
    fn new(backend: Box<dyn Backend>, options: Options) -> Self {
        let tokenizer = Arc::clone(&model().tokenizer);
        let (submissions, receiver) = channel(64);
        let (figures, fault) = (Arc::new(Figures::default()), Arc::new(OnceLock::new()));
        let runner = Runner::new(backend, tokenizer, options, receiver, Arc::clone(&figures), fault);
        Self {
            runner: Some(runner),
            submissions,
            figures,
        }
    }

    fn submit(&self, request: GenerationRequest) -> UnboundedReceiver<Event> {
        let (events, receiver) = unbounded_channel();
        // An engine that has ended takes nothing, and so drops the sender.
        let recipient = Recipient {
            events,
            counted: Arc::default(),
        };
        drop(self.submissions.try_send(Submission { request, recipient }));
        receiver
    }

    /// Takes what was submitted and computes a batch. False when there is nothing to do, or the engine has ended.
    fn turn(&mut self) -> bool {
        let Some(mut runner) = self.runner.take() else {
            return false;
        };
        let work = runner.take_submissions();
        if let Err(fault) = runner.turn() {
            runner.hand_back(fault);
            return false;
        }
        runner.scheduler.check();
        self.runner = Some(runner);
        work == Work::Some
    }

    fn run(&mut self) {
        let turns = (0..MOST_TURNS).take_while(|_| self.turn()).count();
        assert!(turns < MOST_TURNS, "the engine runs in circles");
    }
}

/// All that a request got.
#[derive(Debug, Clone, PartialEq, Default)]
struct Answer {
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    text: String,
    cached: Option<u64>,
    end: Option<(FinishReason, cocoon_api::Usage)>,
    failure: Option<Failure>,
}

fn answer(mut events: UnboundedReceiver<Event>) -> Answer {
    let mut answer = Answer::default();
    while let Ok(event) = events.try_recv() {
        assert!(
            answer.end.is_none() && answer.failure.is_none(),
            "{event:?} after the end"
        );
        match event {
            Event::Prefilled { cached } => {
                assert!(answer.cached.replace(cached.get()).is_none(), "prefilled twice");
            }
            Event::Tokens { ids, text, logprobs } => {
                assert!(answer.cached.is_some() && ids.len() == logprobs.len() && !ids.is_empty());
                answer.ids.extend(ids);
                answer.logprobs.extend(logprobs);
                answer.text.push_str(&text);
            }
            Event::Finished { reason, usage } => answer.end = Some((reason, usage)),
            Event::Failed(failure) => answer.failure = Some(failure),
        }
    }
    answer
}

/// What a request gets from an engine of its own.
fn alone(request: &GenerationRequest) -> Answer {
    let backend = model().decoder(64, 6);
    let options = Options {
        max_sequences: 1,
        prefix_cache: false,
    };
    let mut engine = Driven::new(Box::new(backend), options);
    let events = engine.submit(request.clone());
    engine.run();
    answer(events)
}

/// A request got what it gets alone, and its usage is exact.
fn check(request: &GenerationRequest, got: &Answer, prefix_cache: bool) {
    let expected = alone(request);
    assert_eq!((&got.ids, &got.text), (&expected.ids, &expected.text));
    assert_eq!(got.logprobs, expected.logprobs);
    let (reason, usage) = got.end.expect("an end");
    assert_eq!(Some(reason), expected.end.map(|(reason, _)| reason));
    let (prompt, cached) = (usage.prompt_tokens.get(), usage.cached_prompt_tokens.get());
    assert_eq!(prompt + cached, request.prompt.len() as u64);
    assert_eq!(usage.completion_tokens.get(), got.ids.len() as u64);
    assert_eq!(Some(cached), got.cached);
    assert!(prompt > 0 && cached % 16 == 0 && (prefix_cache || cached == 0));
}

fn request(prompt: Vec<u32>, max_tokens: usize, sampling: Sampling) -> GenerationRequest {
    GenerationRequest {
        prompt,
        max_tokens,
        sampling,
        stop: Vec::new(),
        ignore_eos: false,
    }
}

fn any_request() -> impl Strategy<Value = GenerationRequest> {
    let sampling = (
        any::<u64>(),
        prop_oneof![Just(0.0f32), Just(0.9)],
        0u32..8,
        0u8..3,
    )
        .prop_map(|(seed, temperature, top_k, penalties)| Sampling {
            temperature,
            top_k,
            penalties: Penalties {
                repetition: if penalties == 1 { 1.3 } else { 1.0 },
                frequency: if penalties == 2 { 0.4 } else { 0.0 },
                ..Penalties::NONE
            },
            seed,
            ..Sampling::GREEDY
        });
    // Beginnings are shared: each prompt is the start of one of two texts, and then its own.
    (
        0u32..2,
        0usize..44,
        vec(3u32..62, 1..6),
        1usize..40,
        sampling,
        any::<bool>(),
    )
        .prop_map(|(text, shared, own, max_tokens, sampling, ignore_eos)| {
            let mut prompt: Vec<u32> = (0u32..)
                .take(shared)
                .map(|at| (at * 7 + text * 29) % 59 + 3)
                .collect();
            prompt.extend(own);
            GenerationRequest {
                ignore_eos,
                ..request(prompt, max_tokens, sampling)
            }
        })
}

#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    blocks: usize,
    options: Options,
    /// Each request, when it is submitted, and how many turns later it is cancelled.
    requests: Vec<(GenerationRequest, usize, Option<usize>)>,
    /// The step at which the device is lost.
    fails_at: Option<usize>,
}

fn any_case() -> impl Strategy<Value = Case> {
    let cancelled = prop_oneof![3 => Just(None), 1 => (0usize..30).prop_map(Some)];
    let requests = vec((any_request(), 0usize..25, cancelled), 1..9);
    let fails_at = prop_oneof![3 => Just(None), 1 => (0usize..40).prop_map(Some)];
    (
        4usize..40,
        6usize..12,
        1usize..6,
        any::<bool>(),
        requests,
        fails_at,
    )
        .prop_map(
            |(rows, blocks, max_sequences, prefix_cache, requests, fails_at)| Case {
                rows,
                blocks,
                options: Options {
                    max_sequences,
                    prefix_cache,
                },
                requests,
                fails_at,
            },
        )
}

fn run(case: &Case) -> u64 {
    let inner = model().decoder(case.rows, case.blocks);
    let backend = Failing {
        inner,
        steps_left: case.fails_at.unwrap_or(usize::MAX),
        error: lost(),
    };
    let mut engine = Driven::new(Box::new(backend), case.options);
    let mut events: Vec<Option<UnboundedReceiver<Event>>> = Vec::new();
    events.resize_with(case.requests.len(), || None);
    for turn in 0..60 {
        for ((request, submitted, cancelled), events) in case.requests.iter().zip(&mut events) {
            if turn == *submitted {
                *events = Some(engine.submit(request.clone()));
            }
            if cancelled.is_some_and(|cancelled| turn == submitted + cancelled) {
                *events = None;
            }
        }
        engine.turn();
    }
    engine.run();
    let ended = engine.runner.is_none();
    for ((request, ..), events) in case.requests.iter().zip(events) {
        let Some(events) = events else { continue };
        let got = answer(events);
        if got.end.is_some() {
            check(request, &got, case.options.prefix_cache);
        } else {
            // Handed back, or never taken because the engine had ended: another engine gives the whole answer.
            let lost = Failure::Engine(EngineFault::Device(DeviceFault::Lost));
            assert!(
                ended && got.failure.is_none_or(|failure| failure == lost),
                "{got:?}"
            );
            assert_eq!(got.ids[..], alone(request).ids[..got.ids.len()]);
        }
    }
    for figure in [
        &engine.figures.running,
        &engine.figures.waiting,
        &engine.figures.blocks_used,
    ] {
        assert_eq!(figure.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
    engine
        .figures
        .preemptions
        .load(std::sync::atomic::Ordering::Relaxed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_request_gets_what_it_gets_alone_or_is_handed_back_and_no_block_is_lost(case in any_case()) {
        run(&case);
    }
}

#[test]
fn preempted_sequences_end_as_if_they_had_never_waited() {
    let sampling = Sampling {
        temperature: 1.0,
        seed: 3,
        ..Sampling::GREEDY
    };
    for prefix_cache in [false, true] {
        let requests = (0..4).map(|index| {
            let request = GenerationRequest {
                ignore_eos: true,
                ..request(vec![3 + index; 14], 60, sampling)
            };
            (request, 0, None)
        });
        let case = Case {
            rows: 32,
            blocks: 8,
            options: Options {
                max_sequences: 4,
                prefix_cache,
            },
            requests: requests.collect(),
            fails_at: None,
        };
        assert!(run(&case) > 0, "four sequences of 74 tokens do not fit 8 blocks");
    }
}

#[test]
fn a_prompt_that_was_computed_before_comes_from_the_prefix_cache() {
    let backend = model().decoder(64, 12);
    let options = Options {
        max_sequences: 2,
        prefix_cache: true,
    };
    let mut engine = Driven::new(Box::new(backend), options);
    let first = request((3..51).collect(), 3, Sampling::GREEDY);
    let longer = request((3..57).collect(), 3, Sampling::GREEDY);
    for (request, cached) in [(&first, 0), (&first, 32), (&longer, 48)] {
        let events = engine.submit(request.clone());
        engine.run();
        let got = answer(events);
        check(request, &got, true);
        assert_eq!(got.cached, Some(cached));
    }
}

#[test]
fn a_request_beyond_finite_numbers_fails_alone() {
    let backend = tiny::Model::new(tiny::overflow).decoder(64, 12);
    let options = Options {
        max_sequences: 3,
        prefix_cache: true,
    };
    let mut engine = Driven::new(Box::new(backend), options);
    let good = request(vec![4, 5, 6], 20, Sampling::GREEDY);
    let bad = request(vec![4, 5, tiny::OVERFLOWING, 7], 20, Sampling::GREEDY);
    let [first, second, third] = [&good, &bad, &good].map(|request| engine.submit(request.clone()));
    engine.run();
    check(&good, &answer(first), true);
    check(&good, &answer(third), true);
    let failed = answer(second);
    assert_eq!((failed.failure, failed.ids.len()), (Some(Failure::NotFinite), 0));
}

#[test]
fn a_lost_device_hands_back_what_runs_what_waits_and_what_was_just_submitted() {
    let inner = model().decoder(64, 12);
    let backend = Failing {
        inner,
        steps_left: 2,
        error: lost(),
    };
    let options = Options {
        max_sequences: 1,
        prefix_cache: false,
    };
    let mut engine = Driven::new(Box::new(backend), options);
    let fault = Arc::clone(&engine.runner.as_ref().expect("an engine").fault);
    let long = request(vec![4, 5], 30, Sampling::GREEDY);
    let long = GenerationRequest {
        ignore_eos: true,
        ..long
    };
    let [running, waiting] = [(), ()].map(|()| engine.submit(long.clone()));
    engine.turn();
    engine.turn();
    let mut runner = engine.runner.take().expect("an engine");
    let submitted = engine.submit(long.clone());
    let ended = runner.turn().expect_err("the device is lost");
    runner.hand_back(ended);
    let expected = EngineFault::Device(DeviceFault::Lost);
    assert_eq!((ended, fault.get()), (expected, Some(&expected)));
    for (events, tokens) in [(running, 2), (waiting, 0), (submitted, 0)] {
        let got = answer(events);
        assert_eq!(
            (got.failure, got.ids.len()),
            (Some(Failure::Engine(expected)), tokens)
        );
    }
    assert!(engine.submissions.is_closed());
}

#[test]
fn an_engine_whose_batches_are_refused_ends() {
    let inner = model().decoder(64, 12);
    let problem = "planted".to_owned();
    let backend = Failing {
        inner,
        steps_left: 0,
        error: ForwardError::Batch(crate::backend::BatchError { problem }),
    };
    let options = Options {
        max_sequences: 1,
        prefix_cache: false,
    };
    let mut engine = Driven::new(Box::new(backend), options);
    let events = engine.submit(request(vec![4, 5], 3, Sampling::GREEDY));
    engine.turn();
    assert_eq!(
        answer(events).failure,
        Some(Failure::Engine(EngineFault::BatchRefused))
    );
}

#[test]
fn a_device_that_is_lost_while_it_has_nothing_to_do_ends_the_engine() {
    let backend = Failing {
        inner: model().decoder(64, 6),
        steps_left: 0,
        error: lost(),
    };
    let options = Options {
        max_sequences: 4,
        prefix_cache: false,
    };
    let mut engine = Driven::new(Box::new(backend), options);
    let mut runner = engine.runner.take().expect("it has not ended");
    runner.check_every = Duration::from_millis(1);
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let fault = Arc::clone(&runner.fault);
    // Its handles live: it ends by itself.
    runner.run(&clock);
    assert_eq!(fault.get(), Some(&EngineFault::Device(DeviceFault::Lost)));
    assert!(engine.submissions.is_closed());
}
