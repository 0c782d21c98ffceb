//! What the changelog says of one version.
//!
//! Source: Keep a Changelog 1.1, whose headings are also the kinds of Artifact Hub's `artifacthub.io/changes`.

use anyhow::{Context as _, Result, ensure};

/// A heading's kinds of changes.
const KINDS: [&str; 6] = ["added", "changed", "deprecated", "removed", "fixed", "security"];

/// The section of one version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// Its text, without the heading.
    pub(super) notes: String,
    /// Its entries, in order.
    pub(super) entries: Vec<Entry>,
}

/// One entry of the changelog.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// One of [`KINDS`].
    pub(super) kind: String,
    /// Its text on one line.
    pub(super) description: String,
}

/// Reads the section of `version`.
pub(super) fn section(changelog: &str, version: &str) -> Result<Changes> {
    let mut lines = changelog.lines();
    lines.find(|line| is_heading_of(line, version)).with_context(|| {
        format!(
            "CHANGELOG.md has no section `## {version} - YYYY-MM-DD`: put the entries of `## Unreleased` under that heading, \
             or set the version that is released in Cargo.toml"
        )
    })?;
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("## ")).collect();
    let entries =
        entries(&lines).with_context(|| format!("read the section of {version} in CHANGELOG.md"))?;
    ensure!(
        !entries.is_empty(),
        "CHANGELOG.md says nothing of {version}: write what it brings under `### Added`, `### Changed` or `### Fixed`"
    );
    let notes = format!("{}\n", lines.join("\n").trim());
    Ok(Changes { notes, entries })
}

/// `## 1.2.3 - 2026-01-31`; a heading without a date is of a version that nobody released.
fn is_heading_of(line: &str, version: &str) -> bool {
    let Some(date) = line
        .strip_prefix("## ")
        .and_then(|heading| heading.strip_prefix(version))
        .and_then(|rest| rest.strip_prefix(" - "))
    else {
        return false;
    };
    let shape: String = date
        .chars()
        .map(|letter| if letter.is_ascii_digit() { '0' } else { letter })
        .collect();
    shape == "0000-00-00"
}

fn entries(lines: &[&str]) -> Result<Vec<Entry>> {
    let mut kind = None;
    let mut entries: Vec<Entry> = Vec::new();
    for line in lines {
        if let Some(heading) = line.strip_prefix("### ") {
            let named = heading.trim().to_lowercase();
            ensure!(
                KINDS.contains(&named.as_str()),
                "`### {heading}` is no kind of change: choose from {}",
                KINDS.join(", ")
            );
            kind = Some(named);
        } else if let Some(text) = line.strip_prefix("- ") {
            let kind = kind
                .clone()
                .context("an entry stands before the first `###` heading")?;
            let description = text.trim().to_owned();
            entries.push(Entry { kind, description });
        } else if let (Some(entry), text) = (entries.last_mut(), line.trim())
            && !text.is_empty()
        {
            entry.description.push(' ');
            entry.description.push_str(text);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## Unreleased\n\n### Added\n\n- later\n\n## 0.1.0 - 2026-11-26\n\n### Added\n\n\
                             - one\n  goes on\n- two\n\n### Fixed\n\n- three\n\n## 0.0.9 - 2026-01-01\n\n- old\n";

    #[test]
    fn a_version_has_its_own_entries_and_no_others() {
        let section = section(CHANGELOG, "0.1.0").unwrap();
        let found: Vec<(&str, &str)> = section
            .entries
            .iter()
            .map(|entry| (&*entry.kind, &*entry.description))
            .collect();
        assert_eq!(
            found,
            [("added", "one goes on"), ("added", "two"), ("fixed", "three")]
        );
        assert!(section.notes.starts_with("### Added") && section.notes.ends_with("- three\n"));
    }

    #[test]
    fn a_version_that_the_changelog_lacks_is_refused_with_what_to_do() {
        for (text, version) in [
            (CHANGELOG, "0.2.0"),
            (CHANGELOG, "0.1"),
            ("## 0.1.0\n### Added\n- a\n", "0.1.0"),
        ] {
            let error = section(text, version).unwrap_err().to_string();
            assert!(error.contains(&format!("## {version} - YYYY-MM-DD")), "{error}");
        }
        let error = section("## 0.1.0 - 2026-01-01\n", "0.1.0")
            .unwrap_err()
            .to_string();
        assert!(error.contains("says nothing of 0.1.0"), "{error}");
        let error = section("## 0.1.0 - 2026-01-01\n### News\n- a\n", "0.1.0").unwrap_err();
        assert!(format!("{error:#}").contains("no kind of change"), "{error:#}");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            // Either outcome is fine.
            drop(section(&text, "0.1.0"));
            drop(section(&format!("## 0.1.0 - 2026-01-01\n{text}"), "0.1.0"));
        }
    }
}
