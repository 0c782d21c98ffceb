//! A process that finds this crate's library as `libcuda.so.1`.
//!
//! The loader reads `LD_LIBRARY_PATH` when a process starts, and the library reads its configuration once. So each test
//! starts its own executable again, for itself alone, with both set. What it does there is its body; what it prints and
//! logs there is what the test can look at afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The machine for a test of the same file.
macro_rules! machine {
    ($name:literal) => {
        $crate::machine::Machine::new(concat!(module_path!(), "::", $name))
    };
}
pub(crate) use machine;

/// Names the test whose body is to run, in the process that runs it.
const INSIDE: &str = "TESTBED_CUDA_TEST_INSIDE";

/// A machine to run a test's body on.
pub struct Machine {
    name: &'static str,
    variables: Vec<(String, String)>,
    dir: tempfile::TempDir,
}

/// What a body left behind.
pub struct Outcome {
    /// Standard output and standard error.
    pub said: String,
    /// The lines of the driver's log.
    pub log: Vec<serde_json::Value>,
}

impl Machine {
    /// A machine for the test of that path; its first part, the crate's, is not in the test's name.
    pub fn new(path: &'static str) -> Self {
        let name = path.split_once("::").map_or(path, |(_, name)| name);
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self {
            name,
            variables: Vec::new(),
            dir,
        }
    }

    /// With these cards; one RTX 3090 otherwise.
    pub fn cards(self, cards: &str) -> Self {
        self.set("TESTBED_CUDA_DEVICES", cards)
    }

    /// With this variable.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// A path in the machine's folder: inside and outside it is the same.
    pub fn path(&self, name: &str) -> PathBuf {
        match std::env::var_os(INSIDE) {
            Some(_) => PathBuf::from(std::env::var_os("TESTBED_CUDA_RUNTIME_DIR").expect("set"))
                .join("..")
                .join(name),
            None => self.dir.path().join(name),
        }
    }

    /// Runs the body on the machine. In the process that runs it, nothing is returned: the test is over.
    pub fn run(self, body: impl FnOnce()) -> Option<Outcome> {
        if std::env::var_os(INSIDE).is_some() {
            body();
            return None;
        }
        let output = self.command().output().expect("the test's own executable");
        Some(self.outcome(&output))
    }

    /// The command that runs the body of this machine's test, in one more process.
    pub fn command(&self) -> Command {
        let name = self.name;
        let mut command = self.around(Command::new(std::env::current_exe().expect("this executable")));
        command
            .args([
                "--exact",
                name,
                "--nocapture",
                "--test-threads=1",
                "--include-ignored",
            ])
            .env(INSIDE, name);
        command
    }

    /// The command on this machine.
    pub fn around(&self, mut command: Command) -> Command {
        command
            .env("LD_LIBRARY_PATH", placed(self.dir.path()))
            .env("TESTBED_CUDA_LOG", self.dir.path().join("log"))
            .env("TESTBED_CUDA_RUNTIME_DIR", self.dir.path().join("run"))
            .env("TESTBED_CUDA_WORKERS", "2")
            .env_remove("CUDA_VISIBLE_DEVICES")
            .stdin(Stdio::null());
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    fn outcome(&self, output: &Output) -> Outcome {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(
            output.status.success(),
            "the body of {} failed:\n{said}",
            self.name
        );
        assert!(
            said.contains("1 passed"),
            "no test is named {}:\n{said}",
            self.name
        );
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        Outcome {
            said,
            log: log
                .lines()
                .map(|line| serde_json::from_str(line).expect("a line of JSON"))
                .collect(),
        }
    }
}

impl Outcome {
    /// The lines of the log that tell of this event.
    pub fn events(&self, event: &str) -> Vec<&serde_json::Value> {
        self.log.iter().filter(|line| line["event"] == event).collect()
    }
}

/// Places the library under the name that programs look for, and gives the folder.
fn placed(dir: &Path) -> PathBuf {
    let folder = dir.join("lib");
    if !folder.exists() {
        std::fs::create_dir(&folder).expect("a folder");
        std::os::unix::fs::symlink(library(), folder.join("libcuda.so.1")).expect("a link");
    }
    folder
}

/// The library that cargo built together with this test.
fn library() -> PathBuf {
    let executable = std::env::current_exe().expect("this executable");
    let deps = executable.parent().expect("target/…/deps");
    let found = [deps, deps.parent().expect("target/…")]
        .map(|folder| folder.join("libtestbed_libcuda.so"))
        .into_iter()
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("libtestbed_libcuda.so is not beside {}", executable.display()))
}
