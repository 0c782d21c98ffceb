//! The chart's annotations for Artifact Hub that follow from the repository: its kinds, and an example of each that
//! people write.
//!
//! Source: Artifact Hub's "Helm annotations".

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Files, crds};

/// The file whose end is written.
pub(super) const CHART: &str = "charts/cocoon-farm/Chart.yaml";
/// What stands before it: `annotations` is the file's last key, so that more can be added below.
const START: &str = "  # Written by `cargo xtask codegen`, to the end of the file.\n";

/// A file with an example of each kind that people write.
const EXAMPLES: [&str; 3] = [
    "examples/farm/provider.yaml",
    "examples/farm/channel.yaml",
    "examples/chat-job.yaml",
];

/// `Chart.yaml` with its annotations, from the definitions among the generated files.
pub(super) fn render(root: &Path, generated: &Files) -> Result<String> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
    let chart = read(CHART)?;
    let (head, _) = chart
        .split_once(START)
        .with_context(|| format!("find {START:?} in {CHART}"))?;
    let definitions = generated.iter().filter(|(path, _)| path.starts_with(crds::PLAIN));
    let kinds = definitions
        .map(|(path, text)| kind(text).with_context(|| format!("read {}", path.display())))
        .collect::<Result<Vec<_>>>()?;
    let examples = EXAMPLES
        .iter()
        .map(|path| {
            serde_saphyr::from_str(&read(path)?).with_context(|| format!("read {path} as one YAML document"))
        })
        .collect::<Result<Vec<Value>>>()?;
    let yaml = |value: &[Value]| serde_saphyr::to_string(&value).context("write an annotation as YAML");
    Ok(format!(
        "{head}{START}  artifacthub.io/license: Apache-2.0\n{}{}",
        annotation("crds", &yaml(&kinds)?),
        annotation("crdsExamples", &yaml(&examples)?),
    ))
}

/// What Artifact Hub shows of one definition.
fn kind(definition: &str) -> Result<Value> {
    let definition: Value = serde_saphyr::from_str(definition).context("read it as YAML")?;
    let version = &definition["spec"]["versions"][0];
    let kind = definition["spec"]["names"]["kind"]
        .as_str()
        .context("it has no kind")?;
    let about = version["schema"]["openAPIV3Schema"]["description"]
        .as_str()
        .context("it has no description")?;
    Ok(json!({
        "kind": kind,
        "version": version["name"],
        "name": definition["metadata"]["name"],
        "displayName": words(kind),
        "description": about,
    }))
}

/// `PaymentChannel` as people read it.
fn words(kind: &str) -> String {
    let mut words = String::new();
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
            words.push(letter.to_ascii_lowercase());
        } else {
            words.push(letter);
        }
    }
    words
}

/// One of Artifact Hub's annotations whose value is YAML, as it stands below `annotations`.
pub(crate) fn annotation(name: &str, yaml: &str) -> String {
    let lines: String = yaml
        .lines()
        .map(|line| format!("    {line}").trim_end().to_owned() + "\n")
        .collect();
    format!("  artifacthub.io/{name}: |\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_one_text_that_is_yaml_itself() {
        let text = annotation("x", "- a: |-\n    one\n\n    two\n");
        let read: Value = serde_saphyr::from_str(&format!("annotations:\n{text}")).unwrap();
        let inner: Value =
            serde_saphyr::from_str(read["annotations"]["artifacthub.io/x"].as_str().unwrap()).unwrap();
        assert_eq!(inner, json!([{"a": "one\n\ntwo"}]));
        assert_eq!(words("InferenceJob"), "Inference job");
    }
}
