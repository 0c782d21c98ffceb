//! How a step ended, and how to read it from what cargo and go print.

/// How a step ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// How many passed.
    pub(super) passed: usize,
    /// Names of what failed.
    pub(super) failed: Vec<String>,
    /// Names of what was skipped, each with its reason.
    pub(super) skipped: Vec<(String, String)>,
    /// What people should know although nothing failed.
    pub(super) notes: Vec<String>,
    /// What was printed.
    pub(super) output: String,
}

impl Outcome {
    /// One check that passed.
    pub(super) fn passed() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    /// One check that failed.
    pub(super) fn failed(name: &str, output: String) -> Self {
        Self {
            failed: vec![name.to_owned()],
            output,
            ..Self::default()
        }
    }

    /// One check that was not made.
    pub(super) fn skipped(name: &str, reason: &str) -> Self {
        Self {
            skipped: vec![(name.to_owned(), reason.to_owned())],
            ..Self::default()
        }
    }

    /// What `cargo test` printed, standard output and error together.
    ///
    /// A binary that starts and leaves no result has failed as a whole: it crashed.
    pub(super) fn from_cargo_test(step: &str, success: bool, output: String) -> Self {
        let mut outcome = Self::default();
        let mut running: Option<&str> = None;
        for line in output.lines() {
            let text = line.trim();
            if let Some(started) = text
                .strip_prefix("Running ")
                .or_else(|| text.strip_prefix("Doc-tests "))
            {
                outcome.failed.extend(running.map(crashed));
                running = Some(started);
            } else if let Some(result) = text.strip_prefix("test result: ") {
                outcome.passed += count(result, " passed");
                running = None;
            } else if let Some((name, result)) = text
                .strip_prefix("test ")
                .and_then(|test| test.rsplit_once(" ... "))
            {
                if result == "FAILED" {
                    outcome.failed.push(name.to_owned());
                } else if let Some(reason) = result.strip_prefix("ignored") {
                    let reason = reason.trim_start_matches(", ");
                    let reason = if reason.is_empty() { "ignored" } else { reason };
                    outcome.skipped.push((name.to_owned(), reason.to_owned()));
                }
            }
        }
        outcome.failed.extend(running.map(crashed));
        let messages = messages_of_failed_tests(&output);
        outcome.finish(step, success, if messages.is_empty() { output } else { messages })
    }

    /// Takes tests that checked nothing off those that passed: lines of a name, a tab and a reason, which the tests
    /// wrote.
    pub(super) fn skip(&mut self, noted: &str) {
        for (name, reason) in noted.lines().filter_map(|line| line.split_once('\t')) {
            self.passed = self.passed.saturating_sub(1);
            self.skipped.push((name.to_owned(), reason.to_owned()));
        }
    }

    /// What `go test -v` printed. Subtests count with their test.
    pub(super) fn from_go_test(step: &str, success: bool, output: String) -> Self {
        let mut outcome = Self::default();
        for line in output.lines() {
            let Some((verdict, rest)) = line.strip_prefix("--- ").and_then(|text| text.split_once(": "))
            else {
                continue;
            };
            let name = rest.split_whitespace().next().unwrap_or(rest).to_owned();
            match verdict {
                "PASS" => outcome.passed += 1,
                "FAIL" => outcome.failed.push(name),
                "SKIP" => outcome.skipped.push((name, "see its output".to_owned())),
                _ => {}
            }
        }
        outcome.finish(step, success, output)
    }

    /// A command that failed although no test did, did not come to its tests; one that ran none proves nothing.
    fn finish(mut self, step: &str, success: bool, output: String) -> Self {
        if self.failed.is_empty() && (!success || self.passed == 0) {
            self.failed.push(step.to_owned());
        }
        self.output = output;
        self
    }
}

/// What failed tests printed, which stands far above the end where other binaries run after theirs.
fn messages_of_failed_tests(output: &str) -> String {
    let mut shown = false;
    let mut messages = String::new();
    for line in output.lines() {
        // Messages begin with `---- name stdout ----` and end with the second list of names.
        shown = line.starts_with("---- ") || (shown && line != "failures:");
        if shown {
            messages.push_str(line);
            messages.push('\n');
        }
    }
    messages
}

fn crashed(binary: &str) -> String {
    format!("{binary} ended without a result")
}

/// The number before `word` in `ok. 5 passed; 0 failed; 1 ignored`.
fn count(result: &str, word: &str) -> usize {
    result
        .split(['.', ';'])
        .find_map(|part| part.trim_start().strip_suffix(word))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
