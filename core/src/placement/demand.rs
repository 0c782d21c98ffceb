//! Demand: which jobs ask an offer for agents.

use std::collections::BTreeMap;

use cocoon_api::{
    conditions::{Accepted, Complete, Failed, FundsReserved, Reason as _, Scheduled, find, is_true},
    crd::{FullName, InferenceJob},
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

/// Demand by model on one offer, from the jobs of all namespaces: those that chose the offer, whose budget is
/// reserved, and that have not ended, are not held back, not refused and not being deleted.
pub fn demand<'a>(
    jobs: impl IntoIterator<Item = &'a InferenceJob>,
    provider: &FullName,
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

/// The provider that serves a job, or is to serve it, as its status names it.
pub fn chosen(job: &InferenceJob) -> Option<FullName> {
    let home = job.metadata.namespace.as_deref().unwrap_or_default();
    let text = job.status.as_ref()?.provider.as_deref()?;
    Some(FullName::parse(text, home))
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
pub fn stage(job: &InferenceJob, provider: &FullName) -> Option<Stage> {
    let status = job.status.as_ref()?;
    let is = |type_| is_true(&status.conditions, type_);
    // One whose provider has closed itself to it runs on where it runs, and waits for no agent.
    let is_refused = find(&status.conditions, Accepted::TYPE)
        .is_some_and(|accepted| accepted.status != "True")
        && !is(Scheduled::TYPE);
    let asks = chosen(job).as_ref() == Some(provider)
        && !is_refused
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
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j", "namespace": "team"},
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
        let found = demand(&jobs, &FullName::new("team", "p"));
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
        assert_eq!(stage(&deleted, &FullName::new("team", "p")), None);
    }

    #[test]
    fn a_job_asks_the_provider_of_the_namespace_that_it_names() {
        let elsewhere = job(false, "farm/p", &["FundsReserved"]);
        assert_eq!(
            stage(&elsewhere, &FullName::new("farm", "p")),
            Some(Stage::Waiting)
        );
        assert_eq!(stage(&elsewhere, &FullName::new("team", "p")), None);
    }

    #[test]
    fn a_job_that_its_provider_is_closed_to_keeps_no_agent_waiting() {
        let with = |accepted: &str, types: &[&str]| {
            let mut job = job(false, "farm/p", types);
            let list = &mut job.status.get_or_insert_default().conditions;
            let mut refused = list[0].clone();
            refused.type_ = Accepted::TYPE.into();
            refused.status = accepted.into();
            list.push(refused);
            stage(&job, &FullName::new("farm", "p"))
        };
        assert_eq!(with("False", &["FundsReserved"]), None);
        assert_eq!(with("True", &["FundsReserved"]), Some(Stage::Waiting));
        assert_eq!(
            with("False", &["FundsReserved", "Scheduled"]),
            Some(Stage::Running)
        );
    }
}
