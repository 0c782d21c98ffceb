//! `cargo xtask test`: every check and test of the project, in order, with one line each and one verdict at the end.
//!
//! A step runs to its end whether or not an earlier one failed. What it prints is shown only when it fails. The last
//! line is always `N passed, N failed, N skipped`, where tests count one by one and every other step counts once.

mod capture;
mod circles;
mod clusters;
mod deny;
mod outcome;
mod steps;
mod tidy;
mod width;

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use outcome::Outcome;
use steps::{STEPS, Step};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Steps to run, or `unit` for those that need neither root nor a cluster [default: all]
    steps: Vec<String>,
    /// Run the end-to-end tests on a cluster that kind makes instead of the testbed's
    #[arg(long)]
    kind: bool,
    /// Print the steps and run none
    #[arg(long)]
    list: bool,
}

/// Name of the group of steps that need neither root nor a cluster.
const UNIT: &str = "unit";

/// Lines of a failed step's output that are shown: a compiler's first error and a test's panic both fit.
const TAIL_LINES: usize = 120;

/// Runs the steps that `args` names. The verdict is the exit code, since a failed test is no error of this program.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let steps = select(&args.steps)?;
    if args.list {
        for step in steps {
            let group = match step {
                Step { unit: true, .. } => UNIT,
                _ => "",
            };
            println!("{:<10} {group:<9} {}", step.name, step.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let outcomes: Vec<(&Step, Outcome)> = steps
        .into_iter()
        .map(|step| (step, run_step(step, args.kind)))
        .collect();
    Ok(summary(&outcomes))
}

fn select(names: &[String]) -> Result<Vec<&'static Step>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| *name != UNIT && STEPS.iter().all(|step| step.name != **name))
    {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!(
            "there is no step {unknown}: choose from {UNIT}, {}",
            known.join(", ")
        );
    }
    let chosen = |step: &&Step| {
        names.is_empty()
            || names
                .iter()
                .any(|name| name == step.name || (name == UNIT && step.unit))
    };
    Ok(STEPS.iter().filter(chosen).collect())
}

fn run_step(step: &Step, on_kind: bool) -> Outcome {
    print!("{:<10} ", step.name);
    // Only decoration: a closed terminal must not stop the tests.
    drop(stdout().flush());
    let start = Instant::now();
    let run = step.on_kind.filter(|_| on_kind).unwrap_or(step.run);
    let outcome = run().unwrap_or_else(|error| Outcome::failed(step.name, format!("{error:#}")));
    println!("{}", verdict(&outcome, start.elapsed()));
    for (name, reason) in &outcome.skipped {
        println!("  skipped {name}: {reason}");
    }
    for note in &outcome.notes {
        println!("  note: {note}");
    }
    if !outcome.failed.is_empty() {
        let lines: Vec<&str> = outcome.output.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        println!("{}", tail.join("\n"));
    }
    outcome
}

fn verdict(outcome: &Outcome, took: Duration) -> String {
    let word = match outcome {
        Outcome { failed, .. } if !failed.is_empty() => "FAILED",
        Outcome {
            passed: 0, skipped, ..
        } if !skipped.is_empty() => "skipped",
        _ => "ok",
    };
    let count = if outcome.passed > 1 {
        format!(", {} passed", outcome.passed)
    } else {
        String::new()
    };
    format!("{word} ({:.1} s{count})", took.as_secs_f64())
}

fn summary(outcomes: &[(&Step, Outcome)]) -> ExitCode {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (_, outcome) in outcomes {
        passed += outcome.passed;
        failed += outcome.failed.len();
        skipped += outcome.skipped.len();
    }
    if failed > 0 {
        println!("\nfailed:");
        for (step, outcome) in outcomes {
            for name in &outcome.failed {
                let place = if name == step.name {
                    String::new()
                } else {
                    format!("{}: ", step.name)
                };
                println!("  {place}{name}");
            }
        }
    }
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_needs_neither_root_nor_a_cluster_and_all_is_the_default() {
        let names = |asked: &[&str]| -> Vec<&str> {
            let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
            select(&asked).unwrap().iter().map(|step| step.name).collect()
        };
        assert!(!names(&["unit"]).contains(&"e2e") && !names(&["unit"]).contains(&"kind"));
        assert!(names(&["unit"]).contains(&"rust"));
        assert!(names(&[]).contains(&"e2e") && names(&[]).contains(&"kind"));
        assert_eq!(names(&["kind"]), ["kind"]);
        assert_eq!(names(&["e2e", "fmt"]), ["fmt", "e2e"]);
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_known_ones() {
        let error = select(&["speed".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("speed") && error.contains("clippy"), "{error}");
    }
}
