//! Live progress: a bar in a terminal, plain lines elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use cocoon_api::{
    conditions::{self, Failed, Reason as _},
    crd::{InferenceJob, InferenceJobStatus},
};
use futures::TryStreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};

/// Between two frames of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// Shows what happens.
pub(super) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    last: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let bar = ProgressBar::with_draw_target(
            Some(0),
            if is_terminal {
                ProgressDrawTarget::stdout()
            } else {
                ProgressDrawTarget::hidden()
            },
        );
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("a fixed template"));
        bar.enable_steady_tick(TICK);
        Self {
            bar,
            is_terminal,
            last: String::new(),
        }
    }

    /// A step of the story.
    pub(super) fn say(&mut self, words: &str) {
        if self.last == words {
            return;
        }
        words.clone_into(&mut self.last);
        if self.is_terminal {
            self.bar.set_message(words.to_owned());
        } else {
            println!("· {words}");
        }
    }

    /// Shows the job until its condition is true.
    pub(super) async fn follow(
        &mut self,
        jobs: &Api<InferenceJob>,
        name: &str,
        condition: &str,
        limit: Duration,
    ) -> Result<InferenceJob> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let stream = watcher(jobs.clone(), config).default_backoff().applied_objects();
        let follow = async {
            futures::pin_mut!(stream);
            while let Some(job) = stream.try_next().await.context("could not watch the job")? {
                let status = job.status.clone().unwrap_or_default();
                self.show(&status);
                if let Some(words) = failure(&job) {
                    bail!("job {name} failed: {words}");
                }
                if conditions::is_true(&status.conditions, condition) {
                    return Ok(job);
                }
            }
            bail!("the watch of job {name} ended")
        };
        tokio::time::timeout(limit, follow)
            .await
            .with_context(|| format!("job {name} was not {condition} within {limit:?}"))?
    }

    fn show(&mut self, status: &InferenceJobStatus) {
        if status.phase.is_none() {
            // The operator has not looked at it yet.
            return;
        }
        let phase = status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default();
        let done = status.requests.succeeded + status.requests.failed;
        if status.requests.total > 0 && self.is_terminal {
            self.bar.set_style(
                ProgressStyle::with_template("{spinner} {msg:44} [{bar:30}] {pos}/{len}")
                    .expect("a fixed template"),
            );
            self.bar.set_length(status.requests.total.into());
            self.bar.set_position(done.into());
        }
        let words = match &status.waiting_for {
            Some(waiting) => format!("{phase}: {waiting}"),
            None if status.tokens_per_second > 0 => {
                format!(
                    "{phase}: {done}/{} requests, {} tokens/s",
                    status.requests.total, status.tokens_per_second
                )
            }
            None => format!("{phase}: {done}/{} requests", status.requests.total),
        };
        self.say(&words);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Whether the job has failed, and why.
fn failure(job: &InferenceJob) -> Option<&str> {
    let conditions = &job.status.as_ref()?.conditions;
    conditions::find(conditions, Failed::TYPE)
        .filter(|failed| failed.status == "True")
        .map(|failed| failed.message.as_str())
}
