//! What the driver has to say that a result code cannot: launches, copies, waits, faults and refusals.
//!
//! Everything goes as JSON, one object a line, to the file that `TESTBED_CUDA_LOG` names; faults and refusals go to
//! standard error as well. Lines are appended with one write each, so that processes can share a file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;

use crate::error::Code;

/// The open file; none if no file was asked for, or if it cannot be opened.
static FILE: OnceLock<Option<File>> = OnceLock::new();

/// Opens the file. Without it the library works on and says on standard error that nothing is logged.
pub fn open(path: Option<&Path>) {
    FILE.get_or_init(|| {
        let path = path?;
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened
            .inspect_err(|problem| {
                say(&format!(
                    "cannot open TESTBED_CUDA_LOG {}: {problem}; nothing is logged",
                    path.display()
                ));
            })
            .ok()
    });
}

/// Whether anybody reads what is recorded.
pub fn wanted() -> bool {
    matches!(FILE.get(), Some(Some(_)))
}

/// Appends one line.
pub fn record(entry: &impl Serialize) {
    let Some(Some(mut file)) = FILE.get().map(Option::as_ref) else {
        return;
    };
    let Ok(mut line) = serde_json::to_vec(entry) else {
        return;
    };
    line.push(b'\n');
    if let Err(problem) = file.write_all(&line) {
        say(&format!("cannot write to TESTBED_CUDA_LOG: {problem}"));
    }
}

/// Records that the host waits for a card: for a stream, for an event, or for all of a context.
pub fn wait(device: i32, what: &'static str) {
    #[derive(Serialize)]
    struct Wait {
        event: &'static str,
        pid: u32,
        device: i32,
        what: &'static str,
    }
    record(&Wait {
        event: "wait",
        pid: std::process::id(),
        device,
        what,
    });
}

/// Says why a call is refused, and gives the code that it returns.
pub fn refuse(code: Code, what: &str) -> Code {
    #[derive(Serialize)]
    struct Refusal<'a> {
        event: &'static str,
        pid: u32,
        code: i32,
        message: &'a str,
    }
    say(&format!("{code}: {what}"));
    record(&Refusal {
        event: "refusal",
        pid: std::process::id(),
        code: code.number(),
        message: what,
    });
    code
}

/// One line on standard error.
pub fn say(what: &str) {
    // A closed standard error is no reason to stop a program that runs.
    let _ = writeln!(std::io::stderr(), "libcuda testbed: {what}");
}
