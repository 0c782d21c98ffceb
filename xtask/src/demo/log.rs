//! The demo where nobody watches: one line a phase, and what compilers and tools say in a log file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::cache;

/// Set for the run whose words are sorted.
const SORTED: &str = "COCOON_DEMO_SORTED";
/// What a phase's line begins with.
const PHASE: &str = "· ";
/// Lines of the log that a failure ends with: a compiler's error and where it is.
const LAST_LINES: usize = 20;

/// Whether standard output is no terminal, and this is not the run whose words are sorted.
pub(super) fn is_wanted() -> bool {
    !io::stdout().is_terminal() && std::env::var_os(SORTED).is_none()
}

/// Runs this program again with the same words, and sorts what it says.
pub(super) fn run() -> Result<ExitCode> {
    let path = cache::folder("logs")?.join("demo.log");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    println!("{PHASE}what compilers and tools say goes to {}", path.display());
    let program = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(SORTED, "1")
        .stderr(Stdio::piped())
        .spawn()
        .context("start the demo")?;
    let words = child.stderr.take().context("read what the demo says")?;
    let last = sort(words, io::stdout(), file).with_context(|| format!("write {}", path.display()))?;
    let status = child.wait().context("wait for the demo")?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "the demo failed; {} ends with:\n{}",
        path.display(),
        last.join("\n")
    );
    Ok(ExitCode::FAILURE)
}

/// Phases go to people, and all lines to the log. Answers the last ones.
fn sort(words: impl Read, mut people: impl Write, mut log: impl Write) -> io::Result<Vec<String>> {
    let mut last = Vec::new();
    for line in BufReader::new(words).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        writeln!(log, "{line}")?;
        if line.starts_with(PHASE) {
            writeln!(people, "{line}")?;
            people.flush()?;
        }
        if last.len() == LAST_LINES {
            last.remove(0);
        }
        last.push(line);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_phases_and_the_log_has_everything() {
        let said = [
            "   Compiling a\n· starting the cluster\nwarning: b\n".as_bytes(),
            b"\xff\n",
        ]
        .concat();
        let (mut people, mut log) = (Vec::new(), Vec::new());
        let last = sort(&said[..], &mut people, &mut log).unwrap();
        assert_eq!(String::from_utf8(people).unwrap(), "· starting the cluster\n");
        assert_eq!(String::from_utf8(log).unwrap().lines().count(), 4);
        assert_eq!(last.len(), 4);
    }

    #[test]
    fn a_failure_ends_with_the_last_lines_alone() {
        let lines: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
        let last = sort(lines.join("\n").as_bytes(), io::sink(), io::sink()).unwrap();
        assert_eq!((last.len(), last[0].as_str()), (LAST_LINES, "line 80"));
    }
}
