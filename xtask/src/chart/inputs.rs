//! Values as people have them: a chart within a chart, empty sections, those of the version before, and what is
//! refused.

mod refused;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::{CHART, Chart, Check, rendered::Rendered};
use crate::workspace;

/// Every check of values and release names.
pub(super) fn check(chart: &Chart) -> Vec<Check> {
    vec![
        (
            "values that cannot work are refused with the reason".into(),
            refused::refuses_wrong_values(chart),
        ),
        (
            "values that work are taken".into(),
            refused::takes_what_works(chart),
        ),
        (
            "a label that the chart has by default can be taken away".into(),
            labels_can_be_taken_away(chart),
        ),
        (
            "values that are null are the defaults".into(),
            null_is_the_default(chart),
        ),
        (
            "values of a version that knew none of them give the defaults".into(),
            reused_values_are_completed(chart),
        ),
        (
            "a part of the resources can be taken away".into(),
            resources_can_be_reduced(chart),
        ),
        (
            "a chart with this one as dependency renders the same".into(),
            a_subchart_renders_the_same(chart),
        ),
        (
            "names of releases and namespaces stay names of Kubernetes".into(),
            names_are_names(chart),
        ),
        (
            "the commands of the documentation install".into(),
            documented_commands_render(chart),
        ),
    ]
}

/// What the defaults render.
fn defaults(chart: &Chart) -> Result<String> {
    Ok(chart.render(None)?.text)
}

fn is_same(found: &str, wanted: &str) -> Result<()> {
    let differing = found
        .lines()
        .zip(wanted.lines())
        .find(|(found, wanted)| found != wanted);
    ensure!(
        found == wanted,
        "not what the defaults render: (found, wanted) = {differing:?}"
    );
    Ok(())
}

/// Every leaf of the values, and every section, null.
fn null_is_the_default(chart: &Chart) -> Result<()> {
    let wanted = defaults(chart)?;
    let values = super::read_yaml("values.yaml")?;
    let sections = values
        .as_object()
        .context("the values are a map")?
        .keys()
        .map(|key| (key.clone(), Value::Null));
    for empty in [Value::Object(sections.collect()), leaves_null(&values)] {
        is_same(&render(chart, &empty)?.text, &wanted)?;
    }
    Ok(())
}

/// The same sections, with null for whatever they hold. `resources` is one value.
fn leaves_null(values: &Value) -> Value {
    let Some(members) = values.as_object().filter(|members| !members.is_empty()) else {
        return Value::Null;
    };
    let member = |(key, value): (&String, &Value)| {
        let value = if key == "resources" {
            Value::Null
        } else {
            leaves_null(value)
        };
        (key.clone(), value)
    };
    Value::Object(members.iter().map(member).collect::<Map<_, _>>())
}

fn render(chart: &Chart, values: &Value) -> Result<Rendered> {
    let file = tempfile::NamedTempFile::new().context("create a temporary file")?;
    serde_json::to_writer(&file, values).context("write the values")?;
    chart.render(Some(file.path()))
}

/// With `--reuse-values`, a release keeps the values of the version before, which had fewer of them: here, none.
fn reused_values_are_completed(chart: &Chart) -> Result<()> {
    let folder = tempfile::tempdir().context("create a temporary folder")?;
    copy_chart(folder.path())?;
    fs::remove_file(folder.path().join("values.yaml")).context("remove the copy's values")?;
    let text = template(chart, "cocoon", folder.path(), "cocoon-system")?;
    is_same(text.trim(), defaults(chart)?.trim())
}

fn resources_can_be_reduced(chart: &Chart) -> Result<()> {
    let rendered = render(chart, &json!({"resources": {"limits": null}}))?;
    let found = rendered.operator_container()?["resources"].clone();
    ensure!(
        found.get("limits").is_none() && found["requests"]["memory"].is_string(),
        "the operator's resources are {found}"
    );
    Ok(())
}

fn labels_can_be_taken_away(chart: &Chart) -> Result<()> {
    let labels = json!({"grafana_dashboard": null, "team": "farm"});
    let rendered = render(
        chart,
        &json!({"metrics": {"dashboard": {"enabled": true, "labels": labels}}}),
    )?;
    let map = rendered.dashboard().context("the dashboard is installed")?;
    let found = &map["metadata"]["labels"];
    ensure!(
        found["team"] == "farm" && found.get("grafana_dashboard").is_none(),
        "the dashboard has the labels {found}"
    );
    Ok(())
}

fn a_subchart_renders_the_same(chart: &Chart) -> Result<()> {
    let folder = tempfile::tempdir().context("create a temporary folder")?;
    let parent = folder.path();
    let write =
        |name: &str, text: &str| fs::write(parent.join(name), text).with_context(|| format!("write {name}"));
    write("Chart.yaml", "apiVersion: v2\nname: platform\nversion: 1.0.0\n")?;
    write(
        "values.yaml",
        "global: {imageRegistry: registry.example}\ncocoon-farm:\n  metrics:\n  tolerations:\n  ton: {networks: }\n  resources:\n",
    )?;
    let own = parent.join("charts/cocoon-farm");
    fs::create_dir_all(&own).context("create the folder of the dependency")?;
    copy_chart(&own)?;
    let text = template(chart, "cocoon", parent, "cocoon-system")?;
    is_same(
        text.replace("platform/charts/cocoon-farm/", "cocoon-farm/")
            .trim(),
        defaults(chart)?.trim(),
    )
}

/// Release names may be numbers and hold dots; names of Services may not.
fn names_are_names(chart: &Chart) -> Result<()> {
    let long = "a".repeat(53);
    // Cut where two hyphens stand.
    let hyphens = format!("{}--bc", "a".repeat(49));
    let cut = format!("{}--b", "a".repeat(50));
    for release in ["1", "1e3", "true", "my.farm", &long, &hyphens, &cut] {
        let text = template(chart, release, &workspace::root().join(CHART), "123")?;
        let rendered = Rendered::parse(text)?;
        rendered
            .every_name_is_a_name()
            .with_context(|| format!("as release {release}"))?;
        chart
            .validate(&rendered)
            .with_context(|| format!("as release {release}"))?;
    }
    Ok(())
}

/// Documents with `helm install` and `helm upgrade`, each on one line or continued with a backslash.
const DOCUMENTS: [&str; 3] = ["docs/farm.md", "README.md", "charts/cocoon-farm/README.md"];

/// Every such command renders with its values.
fn documented_commands_render(chart: &Chart) -> Result<()> {
    let mut rendered = 0;
    for document in DOCUMENTS {
        let text = super::read(document)?.replace("\\\n", " ").replace("\n  ", " ");
        for line in text.lines().map(str::trim) {
            let Some(rest) = ["helm install ", "helm upgrade "]
                .iter()
                .find_map(|verb| line.strip_prefix(verb))
            else {
                continue;
            };
            let words: Vec<String> = words(rest)
                .into_iter()
                .filter(|word| !matches!(word.as_str(), "--create-namespace" | "--reuse-values"))
                .collect();
            if words.iter().any(|word| word == "YOUR-VALUES.yaml") {
                continue;
            }
            // The released chart is this one, once it is released.
            let here = |word| match word {
                released if str::starts_with(released, "oci://") => CHART,
                other => other,
            };
            let arguments: Vec<&str> = ["template"]
                .into_iter()
                .chain(words.iter().map(String::as_str).map(here))
                .collect();
            chart
                .helm(&arguments, None)
                .with_context(|| format!("{document}: `{line}`"))?;
            rendered += 1;
        }
    }
    ensure!(rendered >= 3, "only {rendered} commands were found");
    Ok(())
}

/// Words as a shell splits them, as far as these commands go: single quotes keep spaces.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn template(chart: &Chart, release: &str, folder: &Path, namespace: &str) -> Result<String> {
    let folder = folder.to_str().context("the folder's name is no text")?;
    chart.helm(&["template", release, folder, "--namespace", namespace], None)
}

/// The chart's files, without its tests.
fn copy_chart(to: &Path) -> Result<()> {
    copy(&workspace::root().join(CHART), to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry.with_context(|| format!("list {}", from.display()))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}
