//! The Debian packages of a node: pinned by version and digest, kept in the cache, and offered as an archive of their
//! own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cache::{self, Expected};

/// Debian's release. Its name is that of the archive made here, too.
pub(super) const RELEASE: &str = "bookworm";
/// What a node is made of, beside the packages that every Debian has: those of kind's own recipe, and its programs.
const WANTED: &str = "systemd,conntrack,iptables,ipset,nftables,iproute2,ethtool,util-linux,mount,kmod,ca-certificates,curl,jq,procps,\
                      containerd,runc,containernetworking-plugins";

/// One package.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    /// Lower-case hex sha256 of the .deb file.
    sha256: String,
}

/// The names of the packages that the file `pins` lists.
pub(super) fn names(pins: &Path) -> Result<Vec<String>> {
    Ok(read(pins)?.into_iter().map(|package| package.name).collect())
}

/// Makes an archive of the packages that the file `pins` lists in the folder `archive`, downloading those that the
/// folder `cache` lacks, and answers apt's line for it.
pub(super) fn archive(pins: &Path, cache: &Path, archive: &Path) -> Result<String> {
    let packages = read(pins)?;
    let _lock = cache::lock("debs")?;
    download(&packages, pins, cache)?;
    let mut index = String::new();
    for package in &packages {
        let deb = kept(cache, package);
        let name = format!("{}.deb", package.name);
        fs::copy(&deb, archive.join(&name)).with_context(|| format!("copy {}", deb.display()))?;
        let control = Command::new("dpkg-deb")
            .arg("--field")
            .arg(&deb)
            .output()
            .context("start dpkg-deb")?;
        ensure!(control.status.success(), "dpkg-deb cannot read {}", deb.display());
        let size = fs::metadata(&deb)
            .with_context(|| format!("look at {}", deb.display()))?
            .len();
        index.push_str(&String::from_utf8_lossy(&control.stdout));
        writeln!(
            index,
            "Filename: ./{name}\nSize: {size}\nSHA256: {}\n",
            package.sha256
        )
        .context("write the index")?;
    }
    let path = archive.join("Packages");
    fs::write(&path, &index).with_context(|| format!("write {}", path.display()))?;
    // mmdebstrap asks which packages of this release are essential.
    let release = format!(
        "Codename: {RELEASE}\nSuite: {RELEASE}\nSHA256:\n {} {} Packages\n",
        cache::sha256_file(&path)?,
        index.len()
    );
    let path = archive.join("Release");
    fs::write(&path, release).with_context(|| format!("write {}", path.display()))?;
    Ok(format!("deb [trusted=yes] copy:{} ./", archive.display()))
}

fn kept(cache: &Path, package: &Package) -> PathBuf {
    cache.join(format!("{}.deb", package.sha256))
}

fn read(pins: &Path) -> Result<Vec<Package>> {
    let text = fs::read_to_string(pins).with_context(|| format!("read {}", pins.display()))?;
    parse(&text).with_context(|| format!("read {}", pins.display()))
}

/// Lines of `name=version sha256`; those that begin with # say something to people.
fn parse(text: &str) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let package = line.split_once(' ').and_then(|(pin, sha256)| {
            let (name, version) = pin.split_once('=')?;
            Some(Package {
                name: name.to_owned(),
                version: version.to_owned(),
                sha256: sha256.to_owned(),
            })
        });
        packages.push(package.with_context(|| format!("{line:?} is not `name=version sha256`"))?);
    }
    Ok(packages)
}

/// Downloads what is missing in one call of apt, and keeps a file only where its digest is the pinned one.
fn download(packages: &[Package], pins: &Path, cache: &Path) -> Result<()> {
    let missing: Vec<&Package> = packages
        .iter()
        .filter(|package| !kept(cache, package).is_file())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("downloading {} Debian packages", missing.len());
    let folder = tempfile::tempdir().context("create a temporary folder for a download")?;
    let status = Command::new("apt-get")
        .args(["-o", "APT::Sandbox::User=root", "download", "--quiet", "--quiet"])
        .args(
            missing
                .iter()
                .map(|package| format!("{}={}", package.name, package.version)),
        )
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("start apt-get; node images are made on Debian {RELEASE}"))?;
    ensure!(
        status.success(),
        "apt-get download failed, its messages are above: run `apt-get update` and try again; it needs the main archive \
         of Debian {RELEASE}, whose packages {} pins",
        pins.display()
    );
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(folder.path()).context("list the downloads")? {
        let path = entry.context("list the downloads")?.path();
        found.insert(cache::sha256_file(&path)?, path);
    }
    for package in missing {
        let path = found.get(&package.sha256).with_context(|| {
            format!(
                "what apt downloaded as {}={} has not the digest that {} pins",
                package.name,
                package.version,
                pins.display()
            )
        })?;
        let mut deb = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let expected = Expected {
            sha256: &package.sha256,
            mode: 0o644,
        };
        cache::install(&kept(cache, package), &mut deb, &expected)?;
    }
    Ok(())
}

/// Rewrites `pins` to what Debian's main archive offers, keeping what it says to people.
pub(super) fn repin(pins: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("create a temporary folder")?;
    let list = folder.path().join("list");
    // Inside the new system, where apt knows the main archive and no other.
    let query = format!(
        "chroot \"$1\" dpkg-query --show --showformat='${{Package}}=${{Version}}\\n' | xargs chroot \"$1\" apt-cache show \
         --no-all-versions > {}",
        list.display()
    );
    let status = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--quiet", "--format=null"])
        .arg(format!("--include={WANTED}"))
        .arg(format!("--customize-hook={query}"))
        .args([RELEASE, "/dev/null"])
        // Named, since mmdebstrap would add the archives of updates and of security, which keep their newest alone.
        .arg(format!("deb {} {RELEASE} main", main_archive()?))
        .status()
        .context("start mmdebstrap; on Debian: apt-get install mmdebstrap")?;
    ensure!(status.success(), "mmdebstrap failed; its messages are above");
    let described = fs::read_to_string(&list).context("read what apt says")?;
    let text = fs::read_to_string(pins).with_context(|| format!("read {}", pins.display()))?;
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let mut packages: Vec<String> = described.split("\n\n").filter_map(pin).collect();
    packages.sort();
    lines.append(&mut packages);
    fs::write(pins, lines.join("\n") + "\n").with_context(|| format!("write {}", pins.display()))
}

/// Where this machine's apt finds Debian's main archive, whose packages of this release stay.
fn main_archive() -> Result<String> {
    let release = format!("Codename: {RELEASE}");
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(SITE)", "Created-By: Packages"])
        .args([&release, "Label: Debian", "Component: main"])
        .output()
        .context("run apt-get")?;
    let sites = String::from_utf8_lossy(&output.stdout).into_owned();
    let site = sites.lines().next().map(str::to_owned);
    site.with_context(|| {
        format!(
            "this machine's apt does not know the main archive of Debian {RELEASE}: add it to its sources"
        )
    })
}

/// The pin of what `apt-cache show` says about one package.
fn pin(described: &str) -> Option<String> {
    let field = |name: &str| described.lines().find_map(|line| line.strip_prefix(name));
    Some(format!(
        "{}={} {}",
        field("Package: ")?,
        field("Version: ")?,
        field("SHA256: ")?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pin_is_read_back_as_apt_described_it() {
        let described = "Package: jq\nVersion: 1.6-2.1+deb12u2\nDescription: lightweight\nSHA256: 00ff\n";
        let line = pin(described).unwrap();
        let package = Package {
            name: "jq".to_owned(),
            version: "1.6-2.1+deb12u2".to_owned(),
            sha256: "00ff".to_owned(),
        };
        assert_eq!(parse(&format!("# people\n{line}\n")).unwrap(), [package]);
        assert!(pin("Package: jq\n").is_none());
    }

    #[test]
    fn a_line_that_is_no_pin_is_refused() {
        let error = parse("jq 00ff\n").unwrap_err().to_string();
        assert!(error.contains("jq 00ff"), "{error}");
    }

    #[test]
    fn the_committed_pins_are_whole() {
        let pins = crate::workspace::root().join("e2e/kind/node/packages.txt");
        let packages = read(&pins).unwrap();
        assert!(
            WANTED
                .split(',')
                .all(|wanted| packages.iter().any(|package| package.name == wanted.trim()))
        );
        assert!(packages.iter().all(|package| package.sha256.len() == 64));
    }

    proptest! {
        #[test]
        fn parsing_arbitrary_text_never_panics(text in any::<String>()) {
            drop(parse(&text));
        }
    }
}
