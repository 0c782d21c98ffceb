//! What an evaluation found.

use std::fmt;

/// One check and its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What was found, against what is asked.
    pub figures: String,
    /// Whether it suffices.
    pub passed: bool,
}

/// All checks of an evaluation, in the order of running.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    pub(super) fn all(&mut self, name: &'static str, good: usize, total: usize) {
        self.checks.push(Check {
            name,
            figures: format!("{good} of {total}"),
            passed: good == total,
        });
    }

    pub(super) fn at_most(&mut self, name: &'static str, got: f64, most: f64) {
        self.checks.push(Check {
            name,
            figures: format!("{got:.5}, at most {most:.5}"),
            passed: got <= most,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check {
            name,
            figures,
            passed,
        } in &self.checks
        {
            let verdict = if *passed { "ok    " } else { "FAILED" };
            writeln!(f, "{verdict} {name}: {figures}")?;
        }
        Ok(())
    }
}
