//! The Grafana dashboard: that Grafana can read it, and that every query is one of Prometheus over metrics that exist.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::promtool;

/// What Grafana puts in place of its placeholders, as far as Prometheus is concerned.
const PLACEHOLDERS: [(&str, &str); 4] = [
    ("$__rate_interval", "5m"),
    ("$__range", "1h"),
    ("$namespace", ".*"),
    ("$provider", ".*"),
];
/// What Prometheus appends to the name of a histogram.
const HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];
/// Where the chart has it in the `ConfigMap`.
const KEY: &str = "cocoon-farm.json";

/// Checks the dashboard of a rendered `ConfigMap` against the operator's source of metrics.
pub(super) fn check(config_map: &Value, metrics: &str) -> Result<()> {
    let text = config_map["data"][KEY]
        .as_str()
        .with_context(|| format!("find {KEY}"))?;
    let dashboard: Value = serde_json::from_str(text).context("read the dashboard as JSON")?;
    let queries = queries(&dashboard);
    ensure!(!queries.is_empty(), "the dashboard asks for nothing");
    for query in &queries {
        asks_for_metrics_of(query, metrics)?;
    }
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        if let Some(query) = variable["query"].as_str() {
            asks_for_metrics_of(query, metrics)?;
        }
    }
    let mut panels: Vec<&Value> = dashboard["panels"].as_array().into_iter().flatten().collect();
    let shown = panels.len();
    panels.sort_by_key(|panel| panel["id"].as_u64());
    panels.dedup_by_key(|panel| panel["id"].as_u64());
    ensure!(shown == panels.len(), "two panels have one id");
    let rules: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(index, query)| json!({"record": format!("dashboard:query_{index}"), "expr": filled(query)}))
        .collect();
    promtool::check(&json!({"groups": [{"name": "dashboard", "rules": rules}]}))
}

/// The queries of all panels.
fn queries(dashboard: &Value) -> Vec<String> {
    dashboard["panels"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .filter_map(|target| target["expr"].as_str().map(str::to_owned))
        .collect()
}

fn filled(query: &str) -> String {
    PLACEHOLDERS
        .iter()
        .fold(query.to_owned(), |text, (placeholder, value)| {
            text.replace(placeholder, value)
        })
}

/// Every metric of a query is one that the operator's source names.
fn asks_for_metrics_of(query: &str, source: &str) -> Result<()> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    for metric in words.filter(|word| word.starts_with("cocoon_")) {
        let base = HISTOGRAM
            .iter()
            .find_map(|suffix| metric.strip_suffix(suffix))
            .unwrap_or(metric);
        let is_known = [metric, base]
            .iter()
            .any(|name| source.contains(&format!("\"{name}\"")));
        ensure!(is_known, "{metric} is no metric of the operator: {query}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"gauge("cocoon_leader"), "cocoon_reconcile_seconds""#;

    #[test]
    fn a_metric_that_is_not_there_is_named() {
        asks_for_metrics_of("max(cocoon_leader)", SOURCE).unwrap();
        asks_for_metrics_of("rate(cocoon_reconcile_seconds_bucket[5m])", SOURCE).unwrap();
        let error = asks_for_metrics_of("max(cocoon_leaders)", SOURCE)
            .unwrap_err()
            .to_string();
        assert!(error.contains("cocoon_leaders"), "{error}");
    }

    #[test]
    fn placeholders_become_promql() {
        assert_eq!(
            filled("rate(a{namespace=~\"$namespace\"}[$__rate_interval])"),
            "rate(a{namespace=~\".*\"}[5m])"
        );
    }
}
