//! The workflows of continuous integration: well formed, with the least rights, and without steps that only they know.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::check::Check;
use super::folder;
use crate::{tools, workspace};

const FOLDER: &str = ".github/workflows";
/// Digits of a commit's hash.
const HASH_DIGITS: usize = 40;

/// Checks all workflows.
pub(super) fn check() -> Result<Vec<Check>> {
    let files = workspace::root().join(FOLDER);
    let mut checks: Vec<Check> = vec![("workflows: actionlint".into(), actionlint())];
    for name in folder::names(&files)? {
        let text = fs::read_to_string(files.join(&name)).with_context(|| format!("read {FOLDER}/{name}"))?;
        checks.push((
            format!("workflows: {name} is pinned and has the least rights"),
            is_confined(&text),
        ));
    }
    Ok(checks)
}

fn actionlint() -> Result<()> {
    // Without the linters of other languages: what is not there everywhere would pass everywhere else.
    let output = Command::new(tools::actionlint()?)
        .args(["-no-color", "-shellcheck=", "-pyflakes="])
        .current_dir(workspace::root())
        .output()
        .context("start actionlint")?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Fails unless a workflow may only read, names actions by commits, and ends in a program of the repository.
fn is_confined(text: &str) -> Result<()> {
    let workflow: Value = serde_saphyr::from_str(text).context("read it as YAML")?;
    ensure!(
        workflow["permissions"] == json!({"contents": "read"}),
        "its permissions are {}, and reading is enough",
        workflow["permissions"]
    );
    let jobs = workflow["jobs"].as_object().context("it has no jobs")?;
    for (name, job) in jobs {
        ensure!(
            job["permissions"].is_null(),
            "job {name} asks for rights of its own"
        );
        ensure!(job["timeout-minutes"].is_number(), "job {name} has no timeout");
        let steps = job["steps"]
            .as_array()
            .with_context(|| format!("job {name} has no steps"))?;
        for action in steps.iter().filter_map(|step| step["uses"].as_str()) {
            let hash = action.rsplit_once('@').map_or("", |(_, hash)| hash);
            ensure!(
                hash.len() == HASH_DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit()),
                "{action} is not pinned to a commit"
            );
        }
        let mut commands = steps.iter().filter_map(|step| step["run"].as_str());
        ensure!(
            commands.any(|command| command.starts_with("./x ") || command.starts_with(".ci/run")),
            "job {name} runs nothing of the repository"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(permissions: &str, uses: &str, run: &str) -> String {
        format!(
            "permissions: {permissions}\njobs:\n  a:\n    timeout-minutes: 5\n    steps:\n    - uses: {uses}\n    - run: {run}\n"
        )
    }

    #[test]
    fn a_workflow_reads_is_pinned_and_runs_the_repositorys_program() {
        let pinned = format!("actions/checkout@{}", "0f".repeat(20));
        is_confined(&workflow("{contents: read}", &pinned, "./x test")).unwrap();
        for (permissions, uses, run, wanted) in [
            ("write-all", &*pinned, "./x test", "reading is enough"),
            ("{contents: write}", &pinned, "./x test", "reading is enough"),
            (
                "{contents: read}",
                "actions/checkout@v4",
                "./x test",
                "not pinned",
            ),
            (
                "{contents: read}",
                &pinned,
                "cargo test",
                "nothing of the repository",
            ),
        ] {
            let error = is_confined(&workflow(permissions, uses, run))
                .unwrap_err()
                .to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
