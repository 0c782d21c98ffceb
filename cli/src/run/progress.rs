//! Live progress on standard error: a bar in a terminal, plain lines elsewhere.

use std::{fmt::Write as _, io::IsTerminal as _, time::Duration};

use cocoon_api::{
    conditions::{self, Reason as _, Settled},
    crd::InferenceJobStatus,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two frames of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// Shows what a job does. The bar goes away when dropped.
pub(super) struct Progress {
    /// None where there is no terminal.
    bar: Option<ProgressBar>,
    last: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let bar = is_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("a fixed template"));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            bar,
            last: String::new(),
        }
    }

    /// A line; the same one is not repeated.
    pub(super) fn say(&mut self, words: &str) {
        if self.last == words {
            return;
        }
        words.clone_into(&mut self.last);
        match &self.bar {
            Some(bar) => bar.set_message(words.to_owned()),
            None => eprintln!("{words}"),
        }
    }

    /// Where a job stands.
    pub(super) fn show(&mut self, status: &InferenceJobStatus) {
        let done = status.requests.succeeded + status.requests.failed;
        if let Some(bar) = self.bar.as_ref().filter(|_| status.requests.total > 0) {
            bar.set_style(
                ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {pos}/{len}")
                    .expect("a fixed template"),
            );
            bar.set_length(status.requests.total.into());
            bar.set_position(done.into());
        }
        self.say(&words(status));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What a job does, in one line.
fn words(status: &InferenceJobStatus) -> String {
    let Some(phase) = status.phase else {
        return "waiting for the operator".to_owned();
    };
    if let Some(waiting) = &status.waiting_for {
        return format!("{phase:?}: {waiting}");
    }
    let unpaid =
        conditions::find(&status.conditions, Settled::TYPE).filter(|settled| settled.status != "True");
    if let Some(unpaid) = unpaid {
        return format!("{phase:?}: {}", unpaid.message);
    }
    let done = status.requests.succeeded + status.requests.failed;
    let mut text = format!("{phase:?}: {done}/{} requests", status.requests.total);
    if status.tokens_per_second > 0 {
        write!(text, ", {} tokens/s", status.tokens_per_second).expect("a String takes all text");
    }
    text
}

#[cfg(test)]
mod tests {
    use cocoon_api::crd::job::{JobPhase, RequestCounts};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn a_job_says_what_it_waits_for_or_how_far_it_is() {
        let mut status = InferenceJobStatus::default();
        assert_eq!(words(&status), "waiting for the operator");
        status.phase = Some(JobPhase::Pending);
        status.waiting_for = Some("1 GPU on a node".to_owned());
        assert_eq!(words(&status), "Pending: 1 GPU on a node");
        status.phase = Some(JobPhase::Running);
        status.waiting_for = None;
        status.requests = RequestCounts {
            total: 6,
            succeeded: 2,
            failed: 1,
            ..RequestCounts::default()
        };
        status.tokens_per_second = 40;
        assert_eq!(words(&status), "Running: 3/6 requests, 40 tokens/s");
        status.phase = Some(JobPhase::Complete);
        let unpaid = Settled::BelowFee.condition("too little for a claim");
        conditions::set(&mut status.conditions, unpaid, None, Timestamp::UNIX_EPOCH);
        assert_eq!(words(&status), "Complete: too little for a claim");
    }
}
