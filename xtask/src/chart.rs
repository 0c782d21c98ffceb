//! Checks of the Helm chart: that it renders what Kubernetes accepts, takes values as people have them and refuses what
//! cannot work, gives every right a reason and every container the least rights.

mod dashboard;
mod inputs;
mod promtool;
mod rendered;
mod schema;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{tools, workspace};
use rendered::Rendered;

const CHART: &str = "charts/cocoon-farm";
/// Release and namespace of every rendering here.
const RELEASE: [&str; 4] = ["cocoon", CHART, "--namespace", "cocoon-system"];

/// Where the operator names its metrics.
const METRICS: &str = "operator/src/metrics.rs";
/// Where the API names the operator's finalizer.
const NAMES: &str = "api/src/names.rs";
/// Where the operator makes the agents' network policies.
const POLICIES: &str = "operator/src/provider/children.rs";

/// One check and how it ended.
pub(crate) type Check = (String, Result<()>);

/// Runs all checks of the chart.
pub(crate) fn check() -> Result<Vec<Check>> {
    let chart = Chart {
        helm: tools::helm()?,
        validate: tools::kubernetes_validate()?,
    };
    let mut checks: Vec<Check> = vec![("every value has a schema".into(), schema::covers_every_value())];
    checks.extend(inputs::check(&chart));
    for (name, file) in values_sets()? {
        checks.push((format!("{name}: lint"), chart.lint(file.as_deref())));
        let rendered = chart.render(file.as_deref());
        match rendered {
            Ok(rendered) => checks.extend(chart.check_rendered(&name, file.as_deref(), &rendered)),
            Err(error) => checks.push((format!("{name}: render"), Err(error))),
        }
    }
    Ok(checks)
}

/// The defaults, and every file in the chart's `ci` folder.
fn values_sets() -> Result<Vec<(String, Option<PathBuf>)>> {
    let folder = workspace::root().join(CHART).join("ci");
    let mut sets = vec![("defaults".to_owned(), None)];
    let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .with_context(|| format!("list {}", folder.display()))?;
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .replace(".values.yaml", "");
        sets.push((name, Some(path)));
    }
    Ok(sets)
}

/// The tools that read the chart.
struct Chart {
    helm: PathBuf,
    validate: PathBuf,
}

impl Chart {
    fn helm(&self, arguments: &[&str], values: Option<&Path>) -> Result<String> {
        let mut command = Command::new(&self.helm);
        command.args(arguments).current_dir(workspace::root());
        if let Some(file) = values {
            command.arg("--values").arg(file);
        }
        output(&mut command)
    }

    fn lint(&self, values: Option<&Path>) -> Result<()> {
        self.helm(&["lint", "--strict", CHART], values).map(drop)
    }

    fn render(&self, values: Option<&Path>) -> Result<Rendered> {
        let text = self.helm(&[&["template"], &RELEASE[..]].concat(), values)?;
        Rendered::parse(text)
    }

    fn check_rendered(&self, name: &str, values: Option<&Path>, rendered: &Rendered) -> Vec<Check> {
        let mut checks = vec![
            (
                format!("{name}: Kubernetes' own schemas"),
                self.validate(rendered),
            ),
            (
                format!("{name}: every right has a reason"),
                rendered.every_rule_has_a_reason(),
            ),
            (
                format!("{name}: every container is hardened"),
                rendered.every_container_is_hardened(),
            ),
            (
                format!("{name}: definitions follow their switches"),
                rendered.definitions_follow(name),
            ),
            (
                format!("{name}: the roles of payers and farms follow their switch and overstep nothing"),
                rendered.user_roles_follow(name),
            ),
            (
                format!("{name}: rights are in the namespaces that are watched"),
                rendered.rights_follow_the_namespaces(name),
            ),
            (
                format!("{name}: the admission policy follows its switch and spares the operator"),
                rendered.admission_policy_follows(name),
            ),
        ];
        let admitted = read(POLICIES).and_then(|source| rendered.agents_admit_the_operator_of(&source));
        checks.push((format!("{name}: agents admit the operator"), admitted));
        let kept = read(NAMES).and_then(|source| rendered.rights_are_kept(name, &source));
        checks.push((
            format!("{name}: rights in a namespace that goes are kept until what is owed is claimed"),
            kept,
        ));
        let keys = given(values).and_then(|values| rendered.api_keys_are_files_of_the_secrets_in(&values));
        checks.push((
            format!("{name}: API keys are files of the Secrets that the values name"),
            keys,
        ));
        let page = given(values).and_then(|values| rendered.page_follows(&values));
        checks.push((
            format!("{name}: the page follows its switch, and only a forwarded port reaches it"),
            page,
        ));
        if let Some(config_map) = rendered.dashboard() {
            let known = read(METRICS).and_then(|source| dashboard::check(config_map, &source));
            checks.push((
                format!("{name}: the dashboard asks for metrics that exist"),
                known,
            ));
        }
        if let Some(rules) = rendered.prometheus_rules() {
            let tests = workspace::root().join(CHART).join("tests/alerts.yaml");
            checks.push((
                format!("{name}: alerts fire when they should"),
                promtool::test(&rules, &tests),
            ));
            let known = read(METRICS).and_then(|source| rendered.alerts_ask_for_metrics_of(&source));
            checks.push((format!("{name}: alerts ask for metrics that exist"), known));
        }
        checks
    }

    /// What the built-in kinds may hold; the kinds of the Prometheus Operator are not among them.
    fn validate(&self, rendered: &Rendered) -> Result<()> {
        let mut file = tempfile::Builder::new()
            .suffix(".yaml")
            .tempfile()
            .context("create a temporary file")?;
        io::Write::write_all(&mut file, rendered.text.as_bytes()).context("write the rendered chart")?;
        output(
            Command::new(&self.validate)
                .args(["--strict", "--quiet", "--no-warn"])
                .arg(file.path()),
        )
        .map(drop)
    }
}

/// Standard output of a command, or an error that ends with what it printed.
fn output(command: &mut Command) -> Result<String> {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let output = command.output().with_context(|| format!("start {program}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!(
            "{program} failed with {}\n{}\n{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what {program} printed as UTF-8"))
}

/// Reads a file of the workspace.
fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join(path)).with_context(|| format!("read {path}"))
}

/// What a set of values gives; the chart's own where it is the defaults.
fn given(values: Option<&Path>) -> Result<Value> {
    let Some(path) = values else {
        return read_yaml("values.yaml");
    };
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("read {} as YAML", path.display()))
}

/// Reads a YAML file of the chart.
fn read_yaml(path: &str) -> Result<Value> {
    let path = format!("{CHART}/{path}");
    serde_saphyr::from_str(&read(&path)?).with_context(|| format!("read {path} as YAML"))
}
