//! The table of values in the chart's README, from the comments in `values.yaml`.
//!
//! A value is described by the comment right above its key, whose first line starts with `# --`. A key without
//! one is a group: its members are described instead.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The file that is read.
const VALUES: &str = "charts/cocoon-farm/values.yaml";
/// The file whose table is written.
pub(super) const README: &str = "charts/cocoon-farm/README.md";

const START: &str = "<!-- values: written by `cargo xtask codegen` from values.yaml -->\n";
const END: &str = "<!-- end of values -->";

/// The README with the table of what `values.yaml` says.
pub(super) fn render(root: &Path) -> Result<String> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
    let table = table(&described(&read(VALUES)?).with_context(|| format!("read the comments of {VALUES}"))?)?;
    let readme = read(README)?;
    let (before, rest) = readme
        .split_once(START)
        .with_context(|| format!("find {START:?} in {README}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("find {END:?} in {README}"))?;
    Ok(format!("{before}{START}{table}{END}{after}"))
}

/// One described value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// Path with dots.
    pub(crate) path: String,
    /// Default, as it is written; `…` where it spans lines.
    pub(crate) default: String,
    /// What it does.
    pub(crate) about: String,
}

/// Reads every described key, in order.
pub(crate) fn described(yaml: &str) -> Result<Vec<Described>> {
    let mut found: Vec<Described> = Vec::new();
    // Keys from the root to the current line, each with its indentation.
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut comment: Option<String> = None;
    // Indentation of a described key: what is deeper belongs to its default.
    let mut inside: Option<usize> = None;
    for (number, line) in yaml.lines().enumerate() {
        let text = line.trim();
        let indent = line.len() - line.trim_start().len();
        if text.is_empty() {
            continue;
        }
        if inside.is_some_and(|limit| indent > limit || text.starts_with("- ")) {
            continue;
        }
        inside = None;
        if let Some(about) = text.strip_prefix("# -- ") {
            comment = Some(about.to_owned());
            continue;
        }
        if let Some(more) = text.strip_prefix('#') {
            if let Some(about) = &mut comment {
                about.push(' ');
                about.push_str(more.trim());
            }
            continue;
        }
        let Some((key, value)) = text.split_once(':') else {
            bail!("line {}: no key", number + 1)
        };
        path.retain(|(outer, _)| *outer < indent);
        path.push((indent, key));
        let Some(about) = comment.take() else {
            if !value.trim().is_empty() {
                bail!(
                    "line {}: {key} has no comment that starts with `# --`",
                    number + 1
                );
            }
            continue;
        };
        let names: Vec<&str> = path.iter().map(|(_, key)| *key).collect();
        let default = if value.trim().is_empty() {
            "…"
        } else {
            value.trim()
        };
        found.push(Described {
            path: names.join("."),
            default: default.to_owned(),
            about,
        });
        inside = Some(indent);
    }
    Ok(found)
}

fn table(values: &[Described]) -> Result<String> {
    let mut text = String::from("| value | default | what it does |\n|---|---|---|\n");
    for Described { path, default, about } in values {
        let about = about.replace('|', "\\|");
        writeln!(text, "| `{path}` | `{default}` | {about} |")?;
    }
    Ok(text)
}
