//! The steps that need a cluster, which need root.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::capture::{capture, this_program};
use super::outcome::Outcome;
use crate::{cluster, kind};

pub(super) fn e2e() -> Result<Outcome> {
    end_to_end("e2e", &["e2e"])
}

pub(super) fn e2e_on_kind() -> Result<Outcome> {
    end_to_end("e2e", &["kind", "test"])
}

/// The tests that show what is of a family: a job from apply to paid, probes, Services and the command line, a download
/// from a server at an address in brackets, and the page through a forwarded port.
const IPV6_TESTS: [&str; 4] = [
    "six_prompts_are_answered_as_the_reference_says_and_paid_to_the_nanoton",
    "what_is_ours_answers_on_every_family_that_the_cluster_has",
    "two_agents_of_a_node_start_from_one_download_that_goes_on_where_it_broke",
    "the_page_shows_a_paid_job_to_who_forwards_a_port_and_to_nobody_else",
];

pub(super) fn ipv6() -> Result<Outcome> {
    if !Path::new(IPV6_ADDRESSES).exists() {
        return Ok(Outcome::skipped("ipv6", "this machine's kernel has no IPv6"));
    }
    if !is_root()? {
        return Ok(Outcome::skipped("ipv6", NEEDS_ROOT));
    }
    // A cluster keeps its family, and there is one testbed on a machine.
    let ended = cluster::traces();
    cluster::down()?;
    let mut command = vec!["e2e", "--ip-family", "ipv6", "--down"];
    command.extend(IPV6_TESTS);
    let mut outcome = end_to_end("ipv6", &command)?;
    count_of("ipv6", IPV6_TESTS.len(), &mut outcome);
    if ended {
        outcome
            .notes
            .push("the testbed that was up before was ended".to_owned());
    }
    Ok(outcome)
}

/// Where the kernel lists its addresses of IPv6, if it knows any.
const IPV6_ADDRESSES: &str = "/proc/net/if_inet6";

/// A test of another name is not run, which cargo does not mind.
fn count_of(step: &str, wanted: usize, outcome: &mut Outcome) {
    if outcome.failed.is_empty() && outcome.passed > 0 && outcome.passed < wanted {
        outcome
            .failed
            .push(format!("{step}: {} tests of {wanted} ran", outcome.passed));
    }
}

/// The tests that show what is another's on kind: a job from apply to paid, processes and GPUs of nodes that are
/// containers, and a network that enforces policies.
const KIND_TESTS: [&str; 5] = [
    "six_prompts_are_answered_as_the_reference_says_and_paid_to_the_nanoton",
    "an_agent_killed_in_its_container_starts_again_with_another_key_and_does_the_rest",
    "a_job_on_cuda_has_the_answers_and_the_bill_of_the_cpu",
    "the_same_image_without_a_gpu_finds_no_driver",
    "an_agent_reaches_nobody_and_nobody_but_the_operator_reaches_an_agent",
];

pub(super) fn kind_step() -> Result<Outcome> {
    if !is_root()? {
        return Ok(Outcome::skipped("kind", NEEDS_ROOT));
    }
    if let Err(error) = kind::install_packages() {
        return if error.is::<kind::Unable>() {
            Ok(Outcome::skipped("kind", &format!("{error:#}")))
        } else {
            Err(error)
        };
    }
    // A cluster that somebody made stays, and there is nothing to compare.
    let before = if kind::is_there()? {
        None
    } else {
        Some(kind::Traces::now()?)
    };
    let mut command = vec!["kind", "test", "--nodes", "2"];
    if before.is_some() {
        command.push("--down");
    }
    command.extend(KIND_TESTS);
    let mut outcome = end_to_end("kind", &command)?;
    count_of("kind", KIND_TESTS.len(), &mut outcome);
    match before {
        None => outcome
            .notes
            .push("the cluster was there before and stays, so that nothing was compared".to_owned()),
        Some(before) => nothing_stays(&before, &mut outcome)?,
    }
    Ok(outcome)
}

/// Counts as a test of its own: the machine is as it was before the cluster.
fn nothing_stays(before: &kind::Traces, outcome: &mut Outcome) -> Result<()> {
    let changes = before.changes(&kind::Traces::now()?);
    if changes.is_empty() {
        // Of a cluster that did not come to be it says nothing.
        outcome.passed += usize::from(outcome.passed > 0);
        return Ok(());
    }
    outcome
        .failed
        .push("kind: the machine is not as it was".to_owned());
    for change in changes {
        writeln!(outcome.output, "{change}").context("keep a change")?;
    }
    Ok(())
}

/// What a command that could not run said last, from the words on that begin its reason, in one line.
fn why_skipped(output: &str) -> String {
    let begins = output.rfind(&kind::Unable.to_string()).unwrap_or_default();
    output[begins..].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Why nobody else runs the steps with a cluster.
const NEEDS_ROOT: &str = "it starts a cluster, which needs root";

/// Runs this program's command of the end-to-end tests.
fn end_to_end(step: &str, command: &[&str]) -> Result<Outcome> {
    if !is_root()? {
        return Ok(Outcome::skipped(step, NEEDS_ROOT));
    }
    let mut tests = this_program()?;
    tests.args(command);
    // A person may want to look around, and `down` ends it; continuous integration leaves nothing behind.
    if std::env::var_os("CI").is_some_and(|value| value == "true") && !command.contains(&"--down") {
        tests.arg("--down");
    }
    let (status, output) = capture(&mut tests)?;
    if status.code() == Some(kind::SKIPPED.into()) {
        return Ok(Outcome::skipped(step, &why_skipped(&output)));
    }
    Ok(Outcome::from_cargo_test(step, status.success(), output))
}

/// Whether this process may start a cluster.
fn is_root() -> Result<bool> {
    let output = Command::new("id")
        .arg("-u")
        .output()
        .context("ask id who runs this")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_which_a_test_did_not_run_has_failed() {
        let ran = |passed| {
            let mut outcome = Outcome {
                passed,
                ..Outcome::default()
            };
            count_of("ipv6", 4, &mut outcome);
            outcome.failed
        };
        assert_eq!(ran(3), ["ipv6: 3 tests of 4 ran"]);
        assert!(ran(4).is_empty());
        // A slice that was skipped ran none.
        assert!(ran(0).is_empty());
    }

    #[test]
    fn a_skipped_step_says_why_in_one_line() {
        let output = format!(
            "· building\n{}: podman failed: Error: a\nnetlink: b\n",
            kind::Unable
        );
        assert_eq!(
            why_skipped(&output),
            "this machine cannot run kind's nodes: podman failed: Error: a netlink: b"
        );
    }
}
