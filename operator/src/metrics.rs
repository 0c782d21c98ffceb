//! Metrics of the process, in one registry.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Seconds of a reconcile: from an unchanged object to a slow API server.
const RECONCILE_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// Seconds of a reconcile, by kind.
    pub reconcile_seconds: HistogramVec,
    /// Reconciles that failed, by kind.
    pub reconcile_failures: IntCounterVec,
    /// Jobs that ended, by result.
    pub jobs_finished: IntCounterVec,
    /// Requests delivered and billed.
    pub requests_delivered: IntCounter,
    /// Tokens delivered, by class.
    pub tokens_delivered: IntCounterVec,
    /// Attempts whose agent was lost.
    pub attempts_lost: IntCounter,
    /// `NanoTON` confirmed on chain.
    pub settled_nano: IntCounter,
    /// Settlements that ended, by result.
    pub settlements: IntCounterVec,
    /// `NanoTON` given up, because a channel or provider went away unsettled.
    pub written_off_nano: IntCounter,
    /// Jobs by phase.
    pub attempts_active: IntGauge,
    /// 1 while this process leads.
    pub leader: IntGauge,
    /// Calls to a chain endpoint, by network and result.
    pub chain_requests: IntCounterVec,
    /// Free GPUs by provider.
    pub gpus_free: IntGaugeVec,
}

impl Metrics {
    /// Registers everything, with the figures of the process.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let metrics = Self {
            reconcile_seconds: HistogramVec::new(
                HistogramOpts::new("cocoon_reconcile_seconds", "Seconds of a reconcile")
                    .buckets(RECONCILE_BUCKETS.to_vec()),
                &["kind"],
            )?,
            reconcile_failures: vec("cocoon_reconcile_failures_total", "Reconciles that failed", &["kind"])?,
            jobs_finished: vec("cocoon_jobs_finished_total", "Jobs that ended", &["result"])?,
            requests_delivered: counter("cocoon_requests_delivered_total", "Requests delivered and billed")?,
            tokens_delivered: vec("cocoon_tokens_delivered_total", "Tokens delivered", &["class"])?,
            attempts_lost: counter("cocoon_attempts_lost_total", "Attempts whose agent was lost")?,
            settled_nano: counter("cocoon_settled_nanoton_total", "NanoTON confirmed on chain")?,
            settlements: vec("cocoon_settlements_total", "Settlements that ended", &["result"])?,
            written_off_nano: counter("cocoon_written_off_nanoton_total", "NanoTON given up unsettled")?,
            attempts_active: gauge("cocoon_attempts_active", "Attempts that this process follows")?,
            leader: gauge("cocoon_leader", "1 while this process leads")?,
            chain_requests: vec(
                "cocoon_chain_requests_total",
                "Calls to a chain endpoint",
                &["network", "result"],
            )?,
            gpus_free: IntGaugeVec::new(
                Opts::new("cocoon_gpus_free", "Free GPUs on matching nodes"),
                &["namespace", "provider"],
            )?,
            registry,
        };
        metrics.register_all()?;
        Ok(metrics)
    }

    fn register_all(&self) -> prometheus::Result<()> {
        let Self {
            registry,
            reconcile_seconds,
            reconcile_failures,
            jobs_finished,
            requests_delivered,
            tokens_delivered,
            attempts_lost,
            settled_nano,
            settlements,
            written_off_nano,
            attempts_active,
            leader,
            chain_requests,
            gpus_free,
        } = self;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        for counters in
            [reconcile_failures, jobs_finished, tokens_delivered, settlements, chain_requests]
        {
            registry.register(Box::new(counters.clone()))?;
        }
        for counter in [requests_delivered, attempts_lost, settled_nano, written_off_nano] {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [attempts_active, leader] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(gpus_free.clone()))
    }

    /// Everything in the text format of Prometheus.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn counter(name: &str, about: &str) -> prometheus::Result<IntCounter> {
    IntCounter::new(name, about)
}

fn gauge(name: &str, about: &str) -> prometheus::Result<IntGauge> {
    IntGauge::new(name, about)
}

fn vec(name: &str, about: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, about), labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_under_its_own_name() {
        let metrics = Metrics::new().unwrap();
        metrics.leader.set(1);
        metrics.jobs_finished.with_label_values(&["Complete"]).inc();
        let text = metrics.render().unwrap();
        assert!(text.contains("cocoon_leader 1"), "{text}");
        assert!(text.contains("cocoon_jobs_finished_total{result=\"Complete\"} 1"), "{text}");
    }
}
