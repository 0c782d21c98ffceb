//! What no other tool looks at: words that do not belong in the repository, prose that is too wide, files that grow too
//! long or import each other, and fuzz targets that nobody would run.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{circles, outcome::Outcome, width};
use crate::workspace;

/// Text that must not be in a file, and why. Each is written in two parts so that this file is not found.
const FORBIDDEN: [(&str, &str); 9] = [
    (concat!("/wo", "rk/"), "a folder of one machine"),
    (concat!("../sha", "red"), "a folder of one machine"),
    (concat!("/ro", "ot/."), "a folder of one machine"),
    (concat!("/ho", "me/"), "a folder of one machine"),
    (
        concat!("index.cra", "tes.io"),
        "a registry's host, which is the user's choice",
    ),
    (
        concat!("registry.npm", "js.org"),
        "a registry's host, which is the user's choice",
    ),
    (
        concat!("proxy.go", "lang.org"),
        "a registry's host, which is the user's choice",
    ),
    (
        concat!("py", "pi.org"),
        "a registry's host, which is the user's choice",
    ),
    (
        concat!("deb.deb", "ian.org"),
        "a registry's host, which is the user's choice",
    ),
];

/// Text that must not be in Rust code, and why.
const UNFINISHED: [(&str, &str); 5] = [
    (concat!("to", "do!("), "unfinished"),
    (concat!("unimple", "mented!("), "unfinished"),
    (concat!("TO", "DO"), "unfinished: make an issue of it"),
    (concat!("FIX", "ME"), "unfinished: make an issue of it"),
    (
        concat!("#[ig", "nore]"),
        "a test that is skipped without a reason",
    ),
];

/// Lines of a source file beyond which it is asked whether it still has one subject.
const LONG_FILE_LINES: usize = 450;

/// Source files by their ending.
const SOURCES: [&str; 6] = ["rs", "go", "tolk", "cu", "mjs", "sh"];

/// Looks at every file that git tracks or would track.
pub(super) fn check() -> Result<Outcome> {
    let mut findings = Vec::new();
    let mut outcome = Outcome::passed();
    let paths = paths()?;
    for path in &paths {
        let full = workspace::root().join(path);
        // A file may be deleted and not yet committed, and a picture is no text.
        let Ok(text) = fs::read_to_string(&full) else {
            continue;
        };
        findings.extend(words(path, &text));
        findings.extend(width::wide(path, &text, ending(path)));
        let lines = text.lines().count();
        if lines > LONG_FILE_LINES && SOURCES.contains(&ending(path)) {
            outcome.notes.push(format!(
                "{path} has {lines} lines; does it still have one subject?"
            ));
        }
    }
    findings.extend(unlisted_fuzz_targets(&paths)?);
    findings.extend(circles::all(&paths)?);
    if findings.is_empty() {
        Ok(outcome)
    } else {
        Ok(Outcome::failed("tidy", findings.join("\n")))
    }
}

/// What follows the last dot of a path's last part.
fn ending(path: &str) -> &str {
    Path::new(path).extension().and_then(OsStr::to_str).unwrap_or("")
}

fn paths() -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(workspace::root())
        .output()
        .context("start git")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8(output.stdout).context("read the names of files as UTF-8")?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

/// Findings in one file. Lock files name where packages came from; that is their purpose.
fn words(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let is_lock = ending(path) == "lock" || path.ends_with("package-lock.json") || path.ends_with("go.sum");
    for (number, line) in text.lines().enumerate() {
        let mut look = |list: &[(&str, &str)]| {
            for (word, why) in list.iter().filter(|(word, _)| line.contains(word)) {
                findings.push(format!("{path}:{}: {word}: {why}", number + 1));
            }
        };
        if !is_lock {
            look(&FORBIDDEN);
        }
        if ending(path) == "rs" {
            look(&UNFINISHED);
        }
    }
    findings
}

/// Every fuzz target has its entry in the manifest beside it, and that manifest stands alone: fuzzing needs other flags
/// of the compiler than the workspace.
fn unlisted_fuzz_targets(paths: &[String]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for target in paths
        .iter()
        .filter(|path| path.contains("/fuzz_targets/") && ending(path) == "rs")
    {
        let Some((folder, file)) = target.split_once("/fuzz_targets/") else {
            continue;
        };
        let manifest = Path::new(folder).join("Cargo.toml");
        let text = fs::read_to_string(workspace::root().join(&manifest))
            .with_context(|| format!("read {}, the manifest of {target}", manifest.display()))?;
        if !text.contains(&format!("\"fuzz_targets/{file}\"")) {
            findings.push(format!("{target}: has no [[bin]] in {}", manifest.display()));
        }
        if !text.contains("[workspace]") {
            findings.push(format!("{}: has no [workspace] of its own", manifest.display()));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_found_with_its_line() {
        let text = format!("fine\nsee {}x\n", FORBIDDEN[0].0);
        let found = words("docs/a.md", &text);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("docs/a.md:2: "), "{found:?}");
        assert!(words("Cargo.lock", &text).is_empty());
    }

    #[test]
    fn unfinished_rust_is_found_and_prose_is_not() {
        let text = format!("fn a() {{ {}) }}\n", UNFINISHED[0].0);
        assert_eq!(words("core/src/a.rs", &text).len(), 1);
        assert!(words("docs/a.md", &text).is_empty());
    }
}
