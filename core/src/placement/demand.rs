//! Demand: which jobs ask an offer for agents.

use std::collections::BTreeMap;

use cocoon_api::{
    conditions::{Complete, Failed, FundsReserved, Reason as _, Scheduled, is_true},
    crd::InferenceJob,
};

/// Jobs that ask for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// An agent works on them.
    pub running: u32,
    /// They wait for an agent.
    pub waiting: u32,
}

impl Demand {
    /// All of them.
    pub fn jobs(self) -> u32 {
        self.running.saturating_add(self.waiting)
    }
}

/// Demand by model on one offer, from the jobs of its namespace: those that chose the offer, whose budget is
/// reserved, and that have not ended, are not held back and are not being deleted.
pub fn demand<'a>(
    jobs: impl IntoIterator<Item = &'a InferenceJob>,
    provider: &str,
) -> BTreeMap<String, Demand> {
    let mut demand = BTreeMap::<String, Demand>::new();
    for job in jobs {
        let Some(stage) = stage(job, provider) else {
            continue;
        };
        let model = demand.entry(job.spec.model.clone()).or_default();
        let count = match stage {
            Stage::Running => &mut model.running,
            Stage::Waiting => &mut model.waiting,
        };
        *count = count.saturating_add(1);
    }
    demand
}

/// Where a job that asks for an agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// An agent works on it.
    Running,
    /// It waits for an agent.
    Waiting,
}

/// Where a job stands, as far as this offer is concerned; `None` where it asks it for nothing.
pub fn stage(job: &InferenceJob, provider: &str) -> Option<Stage> {
    let status = job.status.as_ref()?;
    let is = |type_| is_true(&status.conditions, type_);
    let asks = status.provider.as_deref() == Some(provider)
        && is(FundsReserved::TYPE)
        && !is(Complete::TYPE)
        && !is(Failed::TYPE)
        && !job.spec.suspend
        && job.metadata.deletion_timestamp.is_none();
    asks.then(|| {
        if is(Scheduled::TYPE) {
            Stage::Running
        } else {
            Stage::Waiting
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(suspend: bool, provider: &str, conditions: &[&str]) -> InferenceJob {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|type_| {
                json!({"type": type_, "status": "True", "reason": "R", "message": "",
                       "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j"},
            "spec": {"model": "m", "input": {"inline": [{}]}, "suspend": suspend, "billing": {"mode": "Free"}},
            "status": {"provider": provider, "conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn only_funded_unfinished_jobs_of_this_offer_ask_for_agents() {
        let jobs = [
            job(false, "p", &["FundsReserved"]),
            job(false, "p", &["FundsReserved", "Scheduled"]),
            job(false, "p", &[]),
            job(false, "other", &["FundsReserved"]),
            job(true, "p", &["FundsReserved"]),
            job(false, "p", &["FundsReserved", "Complete"]),
            job(false, "p", &["FundsReserved", "Failed"]),
        ];
        let found = demand(&jobs, "p");
        assert_eq!(
            found,
            BTreeMap::from([(
                "m".to_owned(),
                Demand {
                    running: 1,
                    waiting: 1
                }
            )])
        );
    }

    #[test]
    fn a_job_that_is_being_deleted_asks_for_nothing() {
        let mut deleted = job(false, "p", &["FundsReserved"]);
        deleted.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert_eq!(stage(&deleted, "p"), None);
    }
}
