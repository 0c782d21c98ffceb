//! A process that finds a driver in software as `libcuda.so.1`.
//!
//! The loader reads `LD_LIBRARY_PATH` when a process starts, and the driver reads its configuration once. So each test
//! starts its own executable again, for itself alone, with both set, and its body runs there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The machine for a test of the same file.
macro_rules! machine {
    ($name:literal) => {
        $crate::machine::Machine::new(module_path!(), $name)
    };
}
pub(crate) use machine;

/// Names the test whose body is to run, in the process that runs it.
const INSIDE: &str = "GPU_AGENT_TEST_INSIDE";

/// A machine to run a test's body on.
pub struct Machine {
    name: String,
    variables: Vec<(String, String)>,
    has_driver: bool,
}

impl Machine {
    /// A machine with one RTX 3090 for the test of that name in this module.
    pub fn new(module: &str, name: &str) -> Self {
        // Tests are named by the path behind the crate.
        let name = match module.split_once("::") {
            Some((_, module)) => format!("{module}::{name}"),
            None => name.to_owned(),
        };
        Self {
            name,
            variables: Vec::new(),
            has_driver: true,
        }
    }

    /// With these cards.
    pub fn cards(self, cards: &str) -> Self {
        self.set("TESTBED_CUDA_DEVICES", cards)
    }

    /// With this variable.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Without the driver.
    pub fn without_driver(mut self) -> Self {
        self.has_driver = false;
        self
    }

    /// Runs the body on the machine; in the process that is the machine, directly.
    pub fn run(self, body: impl FnOnce()) {
        if std::env::var_os(INSIDE).is_some() {
            return body();
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        if self.has_driver {
            std::os::unix::fs::symlink(library(), folder.path().join("libcuda.so.1")).expect("a link");
        }
        let output = Command::new(std::env::current_exe().expect("this executable"))
            .args(["--exact", &self.name, "--nocapture", "--test-threads=1"])
            .env(INSIDE, &self.name)
            .env("LD_LIBRARY_PATH", folder.path())
            .env("TESTBED_CUDA_RUNTIME_DIR", folder.path().join("run"))
            .env("TESTBED_CUDA_LOG", folder.path().join("log"))
            .env_remove("CUDA_VISIBLE_DEVICES")
            .envs(self.variables)
            .stdin(Stdio::null())
            .output()
            .expect("the test's own executable");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        let faults: Vec<String> = std::fs::read_to_string(folder.path().join("log"))
            .unwrap_or_default()
            .lines()
            .filter(|line| line.contains("\"fault\""))
            .map(str::to_owned)
            .collect();
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{} failed:\n{said}\n{}",
            self.name,
            faults.join("\n")
        );
    }
}

/// The library that cargo built together with this test.
fn library() -> PathBuf {
    let executable = std::env::current_exe().expect("this executable");
    let folders = executable.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder: &Path| folder.join("libtestbed_libcuda.so"))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("libtestbed_libcuda.so is not beside {}", executable.display()))
}
