//! Releases of the chart: that of the stack with other values, and others beside it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::stack::Stack;

/// Helm's limit for an operator to become ready.
const TIMEOUT: &str = "120s";

/// A file with the values of the stack's own release.
pub struct Values(tempfile::NamedTempFile);

impl Values {
    /// Reads them.
    pub async fn of(stack: &Stack) -> Result<Self> {
        let (release, system) = (&stack.description.release, &stack.description.operator_namespace);
        let values = stack
            .helm(&[
                "get",
                "values",
                release,
                "--namespace",
                system,
                "--output",
                "json",
            ])
            .await?;
        let file = tempfile::Builder::new().suffix(".json").tempfile()?;
        std::fs::write(file.path(), values)?;
        Ok(Self(file))
    }

    /// Installs a release, or makes it what it should be.
    pub async fn install(&self, stack: &Stack, release: &str, namespace: &str, more: &[&str]) -> Result<()> {
        let chart = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/cocoon-farm");
        let chart = chart.to_str().context("the checkout's path is text")?;
        let values = self.0.path().to_str().context("the file's path is text")?;
        let arguments = [
            "upgrade",
            "--install",
            release,
            chart,
            "--namespace",
            namespace,
            "--values",
            values,
        ];
        let wait = ["--wait", "--timeout", TIMEOUT];
        stack.helm(&[&arguments, more, &wait[..]].concat()).await?;
        Ok(())
    }
}

/// Removes a release, where it is there.
pub async fn uninstall(stack: &Stack, release: &str, namespace: &str) -> Result<()> {
    let wait = ["--ignore-not-found", "--wait", "--timeout", TIMEOUT];
    let arguments = ["uninstall", release, "--namespace", namespace];
    stack.helm(&[&arguments[..], &wait[..]].concat()).await?;
    Ok(())
}
