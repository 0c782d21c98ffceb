//! Figures for Prometheus. Labels are the model's name and closed sets only; nothing comes from a request.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{
    Encoder as _, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::{
    attempts::Serving,
    engine::{EngineFault, Figures, Health},
};

/// The agent's metrics.
pub(super) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    prompt_tokens: IntCounter,
    cached_prompt_tokens: IntCounter,
    completion_tokens: IntCounter,
    batches: IntCounter,
    preemptions: IntCounter,
    engine_state: IntGaugeVec,
    devices: IntGaugeVec,
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
            prompt_tokens: counter(
                "prompt_tokens_total",
                "Prompt tokens computed, each request's once.",
            )?,
            cached_prompt_tokens: counter(
                "cached_prompt_tokens_total",
                "Prompt tokens that came from the prefix cache.",
            )?,
            completion_tokens: counter("completion_tokens_total", "Tokens sampled.")?,
            batches: counter("batches_total", "Batches computed.")?,
            preemptions: counter(
                "preemptions_total",
                "Times that a sequence lost its cache blocks to an older one.",
            )?,
            engine_state: IntGaugeVec::new(
                options(
                    "engine_state",
                    "1 for the state that the engine is in, 0 for the others.",
                ),
                &["state"],
            )?,
            devices: IntGaugeVec::new(
                options(
                    "devices",
                    "Devices by what became of them; those of a pipeline are one.",
                ),
                &["state"],
            )?,
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
        for counter in [
            &self.prompt_tokens,
            &self.cached_prompt_tokens,
            &self.completion_tokens,
            &self.batches,
            &self.preemptions,
        ] {
            self.registry.register(Box::new(counter.clone()))?;
        }
        self.registry.register(Box::new(self.engine_state.clone()))?;
        self.registry.register(Box::new(self.devices.clone()))?;
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

    fn show_health(&self, health: Health) {
        let faults = EngineFault::ALL.map(Health::Failed);
        for state in [Health::Serving, Health::Stopped].into_iter().chain(faults) {
            let gauge = self.engine_state.with_label_values(&[state.reason()]);
            gauge.set(i64::from(state == health));
        }
    }

    /// The text that Prometheus reads.
    pub(super) fn render(&self, serving: &Serving) -> Result<String, prometheus::Error> {
        let engine = &serving.engine;
        for (outcome, count) in serving.outcomes.counts() {
            let counter = self.requests.with_label_values(&[outcome]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        let figures = engine.figures();
        let Figures {
            prompt_tokens,
            cached_prompt_tokens,
            completion_tokens,
            batches,
            busy_micros,
            preemptions,
            running,
            waiting,
            blocks_used,
        } = &figures;
        raise(&self.prompt_tokens, prompt_tokens);
        raise(&self.cached_prompt_tokens, cached_prompt_tokens);
        raise(&self.completion_tokens, completion_tokens);
        raise(&self.batches, batches);
        raise(&self.preemptions, preemptions);
        self.show_health(engine.health());
        let devices = serving.devices();
        let serving = devices.serving();
        for (state, count) in [("serving", serving), ("ended", devices.given - serving)] {
            self.devices.with_label_values(&[state]).set(count.into());
        }
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
