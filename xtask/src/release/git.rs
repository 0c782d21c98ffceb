//! What git says of the checkout: the commit, its time, and whether the files are its own.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// Changed files that a refusal names at most: enough to see whose they are.
const NAMED_CHANGES: usize = 10;

/// The commit that is checked out.
pub(super) fn commit() -> Result<String> {
    git(&["rev-parse", "HEAD"])
}

/// When the commit was made, in UTC, as RFC 3339: the only time that is in a release.
pub(super) fn time() -> Result<String> {
    git(&[
        "log",
        "-1",
        "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
        "--format=%cd",
    ])
}

/// Files that git tracks in a folder, by their paths in the workspace, sorted.
pub(super) fn tracked(folder: &str) -> Result<Vec<String>> {
    let list = git(&["ls-files", "-z", "--", folder])?;
    let mut paths: Vec<String> = list.split_terminator('\0').map(str::to_owned).collect();
    paths.sort();
    Ok(paths)
}

/// Fails unless the files are those of the commit.
pub(super) fn refuse_changes() -> Result<()> {
    let changes = git(&["status", "--porcelain"])?;
    ensure!(changes.is_empty(), "{}", dirty(&changes));
    Ok(())
}

fn dirty(changes: &str) -> String {
    let lines: Vec<&str> = changes.lines().collect();
    let named = lines.len().min(NAMED_CHANGES);
    let more = match lines.len() - named {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    format!(
        "a release is made of a commit, and these files differ from it: commit them, or `git stash --include-untracked`\n  {}{more}",
        lines[..named].join("\n  ")
    )
}

/// Fails unless the commit has this tag.
pub(super) fn refuse_untagged(tag: &str) -> Result<()> {
    let tags = git(&["tag", "--points-at", "HEAD"])?;
    ensure!(
        tags.lines().any(|found| found == tag),
        "the commit has no tag {tag}: `git tag --annotate {tag}` gives it one, and --dry-run asks for none"
    );
    Ok(())
}

fn git(arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(workspace::root())
        .env("TZ", "UTC")
        .output()
        .context("start git")?;
    ensure!(
        output.status.success(),
        "git {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8(output.stdout).context("read what git printed as UTF-8")?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_differs_and_what_to_do() {
        let words = dirty(" M README.md\n?? new.rs");
        assert!(
            words.contains("README.md") && words.contains("new.rs") && words.contains("git stash"),
            "{words}"
        );
        let many = "?? new.rs\n".repeat(12);
        assert!(dirty(&many).ends_with("and 2 more"), "{}", dirty(&many));
    }

    #[test]
    fn the_time_of_a_commit_is_in_utc() {
        let time = time().unwrap();
        assert!(
            time.len() == 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
            "{time}"
        );
    }
}
