//! Figures for Prometheus. Labels are the model's name and closed sets only; nothing comes from a request.

use std::sync::atomic::{AtomicU64, Ordering};

use cocoon_api::agent::FailureCode;
use prometheus::{Encoder as _, Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::engine::{Engine, Figures};

/// The agent's metrics.
pub(super) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    prompt_tokens: IntCounter,
    completion_tokens: IntCounter,
    batches: IntCounter,
    busy_seconds: Gauge,
    running: IntGauge,
    waiting: IntGauge,
    blocks_used: IntGauge,
    blocks: IntGauge,
}

impl Metrics {
    pub(super) fn new(model: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let options = |name: &str, help: &str| {
            Opts::new(format!("cocoon_agent_{name}"), help).const_label("model", model)
        };
        let counter = |name: &str, help: &str| IntCounter::with_opts(options(name, help));
        let gauge = |name: &str, help: &str| IntGauge::with_opts(options(name, help));
        let metrics = Self {
            requests: IntCounterVec::new(
                options("requests_total", "Requests that ended, by outcome."),
                &["outcome"],
            )?,
            prompt_tokens: counter("prompt_tokens_total", "Prompt tokens computed.")?,
            completion_tokens: counter("completion_tokens_total", "Tokens sampled.")?,
            batches: counter("batches_total", "Batches computed.")?,
            busy_seconds: Gauge::with_opts(options("busy_seconds_total", "Seconds spent computing."))?,
            running: gauge("running_sequences", "Sequences being computed.")?,
            waiting: gauge(
                "waiting_sequences",
                "Sequences that wait for a place or for cache blocks.",
            )?,
            blocks_used: gauge("cache_blocks_used", "Cache blocks in use.")?,
            blocks: gauge("cache_blocks", "Cache blocks in all.")?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(self.requests.clone()))?;
        for counter in [&self.prompt_tokens, &self.completion_tokens, &self.batches] {
            self.registry.register(Box::new(counter.clone()))?;
        }
        self.registry.register(Box::new(self.busy_seconds.clone()))?;
        for gauge in [&self.running, &self.waiting, &self.blocks_used, &self.blocks] {
            self.registry.register(Box::new(gauge.clone()))?;
        }
        #[cfg(target_os = "linux")]
        self.registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(())
    }

    pub(super) fn request_succeeded(&self) {
        self.requests.with_label_values(&["succeeded"]).inc();
    }

    pub(super) fn request_failed(&self, code: FailureCode) {
        let outcome = match code {
            FailureCode::InvalidRequest => "invalid_request",
            FailureCode::ContextLengthExceeded => "context_length_exceeded",
            FailureCode::BudgetExceeded => "budget_exceeded",
            FailureCode::Cancelled => "cancelled",
            FailureCode::Internal => "internal",
            FailureCode::ResultTooLarge => "result_too_large",
        };
        self.requests.with_label_values(&[outcome]).inc();
    }

    /// The text that Prometheus reads.
    pub(super) fn render(&self, engine: &Engine) -> Result<String, prometheus::Error> {
        let figures = engine.figures();
        let Figures {
            prompt_tokens,
            completion_tokens,
            batches,
            busy_micros,
            running,
            waiting,
            blocks_used,
        } = figures;
        raise(&self.prompt_tokens, prompt_tokens);
        raise(&self.completion_tokens, completion_tokens);
        raise(&self.batches, batches);
        self.busy_seconds
            .set(std::time::Duration::from_micros(busy_micros.load(Ordering::Relaxed)).as_secs_f64());
        show(&self.running, running);
        show(&self.waiting, waiting);
        show(&self.blocks_used, blocks_used);
        self.blocks
            .set(i64::try_from(engine.limits().blocks).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Brings a counter up to the engine's own count.
fn raise(counter: &IntCounter, value: &AtomicU64) {
    counter.inc_by(value.load(Ordering::Relaxed).saturating_sub(counter.get()));
}

fn show(gauge: &IntGauge, value: &AtomicU64) {
    gauge.set(i64::try_from(value.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
}
