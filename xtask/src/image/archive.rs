//! Debian's archive asked from a folder of its own: for packages of another processor or another release than this
//! machine has, without a change to the machine's own lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// Debian's keys, as every Debian has them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where packages are asked for.
#[derive(Debug)]
pub(super) enum Archive {
    /// What this machine's lists offer.
    Here,
    /// Lists of their own, read afresh.
    Apart { folder: TempDir, architecture: String },
}

impl Archive {
    /// The releases that this machine's sources name, for a processor as Debian names it.
    pub(super) fn of(architecture: &str) -> Result<Self> {
        if own_architecture()? == architecture {
            return Ok(Self::Here);
        }
        Self::apart(architecture, &sources(&targets()?))
    }

    /// Another release of Debian, for this machine's processor, from where this machine has its own.
    pub(super) fn of_release(release: &str) -> Result<Self> {
        let own = own_architecture()?;
        let (mirror, _) = sources(&targets()?)
            .into_iter()
            .find(|(_, release)| !release.contains('-'))
            .context(
                "find the main archive of Debian in this machine's sources; run `apt-get update` and try again",
            )?;
        Self::apart(&own, &BTreeSet::from([(mirror, release.to_owned())]))
    }

    fn apart(architecture: &str, sources: &BTreeSet<(String, String)>) -> Result<Self> {
        ensure!(
            !sources.is_empty(),
            "this machine's sources have no archive of Debian; run `apt-get update` and try again"
        );
        let folder = tempfile::tempdir().context("create a temporary folder for apt's lists")?;
        for name in ["lists/partial", "archives/partial"] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        let lines: Vec<String> = sources
            .iter()
            .map(|(mirror, release)| {
                format!("deb [arch={architecture} signed-by={KEYS}] {mirror} {release} main\n")
            })
            .collect();
        for (name, content) in [("sources.list", lines.concat()), ("status", String::new())] {
            let path = folder.path().join(name);
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        }
        let archive = Self::Apart {
            folder,
            architecture: architecture.to_owned(),
        };
        eprintln!("reading Debian's lists for {architecture}");
        run(archive.apt().args(["update", "--quiet", "--quiet"]))
            .with_context(|| format!("read Debian's lists: {}", lines.concat().trim()))?;
        Ok(archive)
    }

    /// apt on these lists. Root's would warn that its sandbox user cannot write here; as another user the option
    /// changes nothing.
    fn apt(&self) -> Command {
        let mut apt = Command::new("apt-get");
        apt.args(["-o", "APT::Sandbox::User=root"]);
        if let Self::Apart { folder, architecture } = self {
            for option in [
                format!("APT::Architecture={architecture}"),
                format!("APT::Architectures={architecture}"),
                "Acquire::Languages=none".to_owned(),
                "Dir::Etc::SourceParts=-".to_owned(),
            ] {
                apt.arg("-o").arg(option);
            }
            for (option, name) in [
                ("Dir::Etc::SourceList", "sources.list"),
                ("Dir::State::Lists", "lists"),
                ("Dir::State::Status", "status"),
                ("Dir::Cache", ""),
            ] {
                apt.arg("-o")
                    .arg(format!("{option}={}", folder.path().join(name).display()));
            }
        }
        apt
    }

    /// Downloads one package, as apt names it, into `folder`, which must be empty, and returns its path.
    pub(super) fn download(&self, what: &str, folder: &Path) -> Result<PathBuf> {
        eprintln!("downloading {what}");
        let status = self
            .apt()
            .args(["download", "--quiet", "--quiet", what])
            .current_dir(folder)
            .stdout(Stdio::null())
            .status()
            .context("start apt-get; images are made on Debian, elsewhere use images/Containerfile")?;
        ensure!(
            status.success(),
            "apt-get download {what} failed with {status}; its messages are above"
        );
        let listing = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in listing {
            let path = entry
                .with_context(|| format!("list {}", folder.display()))?
                .path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                return Ok(path);
            }
        }
        bail!("apt-get download {what} left no .deb file")
    }
}

fn own_architecture() -> Result<String> {
    Ok(run(Command::new("dpkg").arg("--print-architecture"))?
        .trim()
        .to_owned())
}

/// What this machine's apt knows of its sources.
fn targets() -> Result<String> {
    run(Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(ORIGIN) $(COMPONENT) $(REPO_URI) $(RELEASE)",
        ])
        .arg("Created-By: Packages"))
}

/// Address and release of each of Debian's own archives.
fn sources(targets: &str) -> BTreeSet<(String, String)> {
    targets
        .lines()
        .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["Debian", "main", mirror, release] => Some((mirror.to_owned(), release.to_owned())),
            _ => None,
        })
        .collect()
}

/// Runs a program and answers what it printed.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {program}; images are made on Debian"))?;
    ensure!(
        output.status.success(),
        "{program} failed with {}; its messages are above",
        output.status
    );
    String::from_utf8(output.stdout).with_context(|| format!("read what {program} printed as UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_own_archives_are_told_from_others() {
        let targets = "Debian main http://mirror/debian/ bookworm\nDebian main http://mirror/debian/ bookworm\n\
                       Debian main http://mirror/security/ bookworm-security\nDebian contrib http://mirror/debian/ bookworm\n\
                       $(ORIGIN) main http://other/ stable\n. nodistro\n\n";
        let found = sources(targets);
        let found: Vec<_> = found
            .iter()
            .map(|(mirror, release)| (&**mirror, &**release))
            .collect();
        assert_eq!(
            found,
            [
                ("http://mirror/debian/", "bookworm"),
                ("http://mirror/security/", "bookworm-security")
            ]
        );
    }
}
