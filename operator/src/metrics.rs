//! Metrics of the process, in one registry.

use cocoon_api::conditions::{Reason as _, SettlementFailed};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Seconds of a reconcile: from an unchanged object to a slow API server.
const RECONCILE_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// Seconds of a reconcile, by kind.
    pub reconcile_seconds: HistogramVec,
    /// Requests to the Kubernetes API, by verb and resource.
    pub kubernetes_requests: IntCounterVec,
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
    /// `NanoTON` that claiming wallets passed on to payout addresses.
    pub swept_nano: IntCounter,
    /// Settlements that ended, by result.
    pub settlements: IntCounterVec,
    /// `NanoTON` given up, because a channel went away unsettled.
    pub written_off_nano: IntCounter,
    /// Attempts that this process follows.
    pub attempts_active: IntGauge,
    /// 1 while this process leads.
    pub leader: IntGauge,
    /// 1 while this process waits for another release's operator, which serves the same namespaces.
    pub waits_for_operator: IntGauge,
    /// Calls to a chain endpoint, by network and result.
    pub chain_requests: IntCounterVec,
    /// Answers of chain endpoints that differ from the majority's, or are missing.
    pub chain_dissent: IntCounterVec,
    /// 1 where a chain endpoint said what the majority said when it was last asked.
    pub chain_endpoint_agrees: IntGaugeVec,
    /// Free GPUs by provider.
    pub gpus_free: IntGaugeVec,
    /// 1 where a condition of a provider is true, 0 where it is false: what alerts look at.
    pub provider_condition: IntGaugeVec,
}

impl Metrics {
    /// Registers everything, with the figures of the process.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let metrics = Self {
            reconcile_seconds: HistogramVec::new(
                HistogramOpts::new("cocoon_reconcile_seconds", "Seconds of a reconcile")
                    .buckets(RECONCILE_BUCKETS.to_vec()),
                &["kind"],
            )?,
            kubernetes_requests: vec(
                "cocoon_kubernetes_requests_total",
                "Requests to the Kubernetes API",
                &["verb", "resource"],
            )?,
            reconcile_failures: vec(
                "cocoon_reconcile_failures_total",
                "Reconciles that failed",
                &["kind"],
            )?,
            jobs_finished: vec("cocoon_jobs_finished_total", "Jobs that ended", &["result"])?,
            requests_delivered: counter("cocoon_requests_delivered_total", "Requests delivered and billed")?,
            tokens_delivered: vec("cocoon_tokens_delivered_total", "Tokens delivered", &["class"])?,
            attempts_lost: counter("cocoon_attempts_lost_total", "Attempts whose agent was lost")?,
            settled_nano: counter("cocoon_settled_nanoton_total", "NanoTON confirmed on chain")?,
            swept_nano: counter(
                "cocoon_swept_nanoton_total",
                "NanoTON passed on to payout addresses",
            )?,
            settlements: vec("cocoon_settlements_total", "Settlements that ended", &["result"])?,
            written_off_nano: counter("cocoon_written_off_nanoton_total", "NanoTON given up unsettled")?,
            attempts_active: gauge("cocoon_attempts_active", "Attempts that this process follows")?,
            leader: gauge("cocoon_leader", "1 while this process leads")?,
            waits_for_operator: gauge(
                "cocoon_waits_for_operator",
                "1 while another release's operator serves the same namespaces",
            )?,
            chain_requests: vec(
                "cocoon_chain_requests_total",
                "Reads of the chain through a majority of its endpoints",
                &["network", "result"],
            )?,
            chain_dissent: vec(
                "cocoon_chain_dissent_total",
                "Answers of chain endpoints that differ from the majority's, or are missing",
                &["network", "endpoint", "trouble"],
            )?,
            chain_endpoint_agrees: IntGaugeVec::new(
                Opts::new(
                    "cocoon_chain_endpoint_agrees",
                    "1 where a chain endpoint said what the majority said when it was last asked",
                ),
                &["network", "endpoint"],
            )?,
            gpus_free: IntGaugeVec::new(
                Opts::new("cocoon_gpus_free", "Free GPUs on matching nodes"),
                &["namespace", "provider"],
            )?,
            provider_condition: IntGaugeVec::new(
                Opts::new(
                    "cocoon_provider_condition",
                    "1 where a condition of a provider is true",
                ),
                &["namespace", "provider", "type"],
            )?,
            registry,
        };
        metrics.register_all()?;
        // A failure that brings its own series into being would be no increase of it: all begin at zero.
        for failure in [
            SettlementFailed::Expired,
            SettlementFailed::Superseded,
            SettlementFailed::NotRedeemed,
        ] {
            metrics.settlements.with_label_values(&[failure.name()]);
        }
        Ok(metrics)
    }

    fn register_all(&self) -> prometheus::Result<()> {
        let Self {
            registry,
            reconcile_seconds,
            kubernetes_requests,
            reconcile_failures,
            jobs_finished,
            requests_delivered,
            tokens_delivered,
            attempts_lost,
            settled_nano,
            swept_nano,
            settlements,
            written_off_nano,
            attempts_active,
            leader,
            waits_for_operator,
            chain_requests,
            chain_dissent,
            chain_endpoint_agrees,
            gpus_free,
            provider_condition,
        } = self;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        for counters in [
            kubernetes_requests,
            reconcile_failures,
            jobs_finished,
            tokens_delivered,
            settlements,
            chain_requests,
            chain_dissent,
        ] {
            registry.register(Box::new(counters.clone()))?;
        }
        for counter in [
            requests_delivered,
            attempts_lost,
            settled_nano,
            swept_nano,
            written_off_nano,
        ] {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [attempts_active, leader, waits_for_operator] {
            registry.register(Box::new(gauge.clone()))?;
        }
        for gauges in [chain_endpoint_agrees, gpus_free, provider_condition] {
            registry.register(Box::new(gauges.clone()))?;
        }
        Ok(())
    }

    /// Shows the conditions of a provider.
    pub fn provider_conditions(&self, namespace: &str, provider: &str, conditions: &[Condition]) {
        for condition in conditions {
            let labels = [namespace, provider, &condition.type_];
            self.provider_condition
                .with_label_values(&labels)
                .set(i64::from(condition.status == "True"));
        }
    }

    /// Forgets a provider that is gone, so that no alert goes on about it.
    pub fn forget_provider(&self, namespace: &str, provider: &str, conditions: &[Condition]) {
        // Errors say that the figure was never shown.
        let _ = self.gpus_free.remove_label_values(&[namespace, provider]);
        for condition in conditions {
            let _ = self
                .provider_condition
                .remove_label_values(&[namespace, provider, &condition.type_]);
        }
    }

    /// Counts one delivered request.
    pub fn delivered(&self, usage: cocoon_api::Usage) {
        let cocoon_api::Usage {
            prompt_tokens,
            cached_prompt_tokens,
            completion_tokens,
            reasoning_tokens,
        } = usage;
        self.requests_delivered.inc();
        let classes = [
            ("prompt", prompt_tokens),
            ("cachedPrompt", cached_prompt_tokens),
            ("completion", completion_tokens),
            ("reasoning", reasoning_tokens),
        ];
        for (class, tokens) in classes {
            self.tokens_delivered
                .with_label_values(&[class])
                .inc_by(tokens.get());
        }
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
    use cocoon_api::conditions::{WalletReady, set};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn every_metric_registers_under_its_own_name() {
        let metrics = Metrics::new().unwrap();
        metrics.leader.set(1);
        assert!(
            metrics
                .render()
                .unwrap()
                .contains("cocoon_settlements_total{result=\"Expired\"} 0")
        );
        metrics.jobs_finished.with_label_values(&["Complete"]).inc();
        let text = metrics.render().unwrap();
        assert!(text.contains("cocoon_leader 1"), "{text}");
        assert!(
            text.contains("cocoon_jobs_finished_total{result=\"Complete\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn a_provider_that_is_gone_leaves_no_figures() {
        let metrics = Metrics::new().unwrap();
        let mut conditions = Vec::new();
        let observed = WalletReady::LowBalance.condition("too little for fees");
        set(&mut conditions, observed, None, Timestamp::UNIX_EPOCH);
        metrics.provider_conditions("farm", "p", &conditions);
        let shown = "cocoon_provider_condition{namespace=\"farm\",provider=\"p\",type=\"WalletReady\"} 0";
        assert!(metrics.render().unwrap().contains(shown));
        metrics.forget_provider("farm", "p", &conditions);
        assert!(!metrics.render().unwrap().contains("provider=\"p\""));
    }
}
