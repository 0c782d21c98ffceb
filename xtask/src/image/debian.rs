//! The base layer: chosen files of Debian packages that are pinned by version and digest.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::archive::Archive;
use super::layer::{Layer, Node};
use crate::cache::{self, Expected};

/// The user that containers run as, by number and name; the number is the one that distroless images use.
pub(super) const USER: u32 = 65532;

/// The pin file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pins {
    /// Debian's name of the processor architecture.
    pub(crate) architecture: String,
    pub(crate) packages: Vec<Package>,
}

/// One pinned package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Lower-case hex sha256 of the .deb file.
    pub(crate) sha256: String,
    /// Paths taken from the package, relative to the root.
    files: BTreeSet<String>,
}

#[cfg(test)]
impl Package {
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }
}

/// Makes the base layer from the packages that the file `pins` lists, downloading those that the folder `cache` lacks.
pub(super) fn base(pins: &Path, cache: &Path) -> Result<Layer> {
    let mut layer = skeleton();
    let list = read_pins(pins)?;
    let _lock = cache::lock("debs")?;
    let mut archive = None;
    for package in &list.packages {
        let deb = fetch(package, &list.architecture, pins, cache, &mut archive)?;
        let found = extract(&deb, package, &mut layer)?;
        if let Some(missing) = package.files.difference(&found).next() {
            bail!(
                "{}={} has no file {missing}; correct {}",
                package.name,
                package.version,
                pins.display()
            );
        }
        // Where scanners look for the packages of an image without a package manager.
        let status = format!("var/lib/dpkg/status.d/{}", package.name);
        layer.file(&status, 0o644, dpkg_deb(&["--field"], &deb)?);
    }
    Ok(layer)
}

/// What every image has besides packages: names for the user, an order for name look-ups, and a place to write.
fn skeleton() -> Layer {
    let mut layer = Layer::default();
    let passwd = format!(
        "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/nonexistent:/sbin/nologin\n"
    );
    let group = format!("root:x:0:\nnonroot:x:{USER}:\n");
    layer.file("etc/passwd", 0o644, passwd.into_bytes());
    layer.file("etc/group", 0o644, group.into_bytes());
    layer.file(
        "etc/nsswitch.conf",
        0o644,
        b"passwd: files\ngroup: files\nhosts: files dns\n".to_vec(),
    );
    layer.directory("tmp", 0o1777);
    layer
}

pub(super) fn read_pins(path: &Path) -> Result<Pins> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// The package from the cache, or else from Debian's archive, which the first download opens.
fn fetch(
    package: &Package,
    architecture: &str,
    pins: &Path,
    cache: &Path,
    archive: &mut Option<Archive>,
) -> Result<PathBuf> {
    let what = format!("{}:{architecture}={}", package.name, package.version);
    keep(&package.sha256, cache, |folder| {
        let archive = match archive {
            Some(archive) => archive,
            None => archive.insert(Archive::of(architecture)?),
        };
        archive.download(&what, folder)
    })
    .with_context(|| {
        format!(
            "download {what}, pinned in {}; run `apt-get update` and try again, and if the archive no longer has this \
             version (an installed copy does not help: the .deb is what is pinned), run `cargo xtask image --repin`",
            pins.display()
        )
    })
}

/// A package that is taken whole, from another release of Debian than the images' files.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Lower-case hex sha256 of the .deb file.
    pub(crate) sha256: &'static str,
    /// The release that has it.
    pub(super) release: &'static str,
    /// The file that holds this pin.
    pub(super) pinned_in: &'static str,
}

impl Source {
    /// The version without what Debian adds to it.
    pub(super) fn upstream(&self) -> &'static str {
        self.version.split('+').next().unwrap_or(self.version)
    }

    /// The package's URL.
    pub(crate) fn purl(&self) -> String {
        let version = self.version.replace('+', "%2B");
        format!(
            "pkg:deb/debian/{}@{version}?arch=all&distro={}",
            self.name, self.release
        )
    }
}

/// The package from the cache, or else from its release.
pub(super) fn fetch_source(source: &Source, cache: &Path) -> Result<PathBuf> {
    let what = format!("{}={}", source.name, source.version);
    keep(source.sha256, cache, |folder| {
        Archive::of_release(source.release)?.download(&what, folder)
    })
    .with_context(|| {
        format!(
            "download {what} from Debian's {}, pinned in {}; where the archive no longer has this version, a .deb with the \
             pinned digest may be put into {} as {}.deb",
            source.release,
            source.pinned_in,
            cache.display(),
            source.sha256
        )
    })
}

/// The .deb file with this digest in the folder `cache`, downloaded where it is missing: `download` leaves it in an
/// empty folder.
fn keep(sha256: &str, cache: &Path, download: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<PathBuf> {
    let path = cache.join(format!("{sha256}.deb"));
    if path.is_file() {
        return Ok(path);
    }
    let folder = tempfile::tempdir().context("create a temporary folder for a download")?;
    let download = download(folder.path())?;
    let mut deb = fs::File::open(&download).with_context(|| format!("open {}", download.display()))?;
    cache::install(&path, &mut deb, &Expected { sha256, mode: 0o644 })?;
    Ok(path)
}

/// Unpacks what `deb` has below a path into `folder`.
pub(super) fn unpack(deb: &Path, below: &str, folder: &Path) -> Result<()> {
    let read = || format!("unpack {}", deb.display());
    let mut program = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("start dpkg-deb")?;
    let output = program.stdout.take().context("read what dpkg-deb prints")?;
    for entry in tar::Archive::new(output).entries().with_context(read)? {
        let mut entry = entry.with_context(read)?;
        let path = entry.path().with_context(read)?.into_owned();
        if path.strip_prefix("./").unwrap_or(&path).starts_with(below) {
            entry.unpack_in(folder).with_context(read)?;
        }
    }
    let status = program.wait().context("wait for dpkg-deb")?;
    ensure!(
        status.success(),
        "dpkg-deb cannot read {}: {status}",
        deb.display()
    );
    Ok(())
}

/// Adds the chosen files of `deb` to `layer` and returns the paths that it had.
fn extract(deb: &Path, package: &Package, layer: &mut Layer) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let archive = dpkg_deb(&["--fsys-tarfile"], deb)?;
    let mut archive = tar::Archive::new(archive.as_slice());
    for entry in archive
        .entries()
        .with_context(|| format!("read the content of {}", deb.display()))?
    {
        let mut entry = entry.with_context(|| format!("read the content of {}", deb.display()))?;
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .with_context(|| format!("read a file name in {}", deb.display()))?;
        let path = path.trim_start_matches("./");
        if !package.files.contains(path) {
            continue;
        }
        let node = node(&mut entry).with_context(|| format!("read {path} in {}", deb.display()))?;
        layer.insert(path, node);
        found.insert(path.to_owned());
    }
    Ok(found)
}

fn node(entry: &mut tar::Entry<'_, &[u8]>) -> Result<Node> {
    let mode = entry.header().mode().context("read its mode")?;
    match entry.header().entry_type() {
        tar::EntryType::Regular => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).context("read its content")?;
            Ok(Node::File { mode, content })
        }
        tar::EntryType::Symlink => {
            let target = entry.link_name_bytes().context("it is a link to nothing")?;
            Ok(Node::Link {
                target: String::from_utf8(target.into_owned()).context("read its target")?,
            })
        }
        other => bail!("it is neither a file nor a symbolic link but {other:?}"),
    }
}

/// Runs `dpkg-deb` on a package and returns what it prints.
fn dpkg_deb(arguments: &[&str], deb: &Path) -> Result<Vec<u8>> {
    let output = Command::new("dpkg-deb")
        .args(arguments)
        .arg(deb)
        .stderr(Stdio::inherit())
        .output()
        .context("start dpkg-deb; images are made on Debian, elsewhere use images/Containerfile")?;
    ensure!(
        output.status.success(),
        "dpkg-deb cannot read {}: {}",
        deb.display(),
        output.status
    );
    Ok(output.stdout)
}

/// Rewrites `pins` to the package versions that the archive offers, keeping its comments.
pub(super) fn repin(pins: &Path) -> Result<()> {
    let list = read_pins(pins)?;
    let mut text = fs::read_to_string(pins).with_context(|| format!("read {}", pins.display()))?;
    let archive = Archive::of(&list.architecture)?;
    for package in &list.packages {
        let folder = tempfile::tempdir().context("create a temporary folder for a download")?;
        let deb = archive.download(&format!("{}:{}", package.name, list.architecture), folder.path())?;
        let version = String::from_utf8(dpkg_deb(&["--show", "--showformat=${Version}"], &deb)?)
            .with_context(|| format!("read the version of {}", deb.display()))?;
        let sha256 = cache::sha256_file(&deb)?;
        if sha256 == package.sha256 {
            println!("{} {version} stays", package.name);
            continue;
        }
        // Two packages of one source share a version, so only the lines from this package's name on are touched.
        let start = text
            .find(&format!("- name: {}\n", package.name))
            .with_context(|| format!("find the line `- name: {}` in {}", package.name, pins.display()))?;
        let (head, tail) = text.split_at(start);
        let tail = tail
            .replacen(&package.version, &version, 1)
            .replacen(&package.sha256, &sha256, 1);
        text = format!("{head}{tail}");
        println!("{} {} becomes {version}", package.name, package.version);
    }
    fs::write(pins, text).with_context(|| format!("write {}", pins.display()))
}
