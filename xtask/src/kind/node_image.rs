//! The image of kind's nodes, made of pinned packages, kind's own files and the testbed's Kubernetes, without a
//! container engine. The same inputs give the same bytes.

use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::engine::{REPOSITORY, Unable};
use super::modules::{KIND, KUBE_ROUTER};
use super::packages::{self, RELEASE};
use crate::{cache, cluster, workspace};

/// What makes a root file system out of packages.
const PACKAGES: &[&str] = &["mmdebstrap"];
/// The time of everything in the image, 2026-01-01: a real one would change the digest.
const EPOCH: &str = "1767225600";
/// The same in the image's configuration.
const CREATED: &str = "2026-01-01T00:00:00Z";
/// Of the archive: an image layout that has docker's list of images as well.
const FORMAT: &str = "2";
/// How many hex digits of the inputs' digest name an image: 64 bits, never the same for two of one machine's.
const KEY_DIGITS: usize = 16;
/// An image of other inputs that was made so long ago is of no checkout that somebody works on. Each is half a
/// gigabyte, and a cache that outlives its machine would fill up.
const KEPT: Duration = Duration::from_hours(24);

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A built image.
pub(super) struct NodeImage {
    /// As kind and the engine name it.
    pub(super) reference: String,
    /// The OCI archive; none where the engine has it or pulls it.
    pub(super) file: Option<PathBuf>,
}

impl NodeImage {
    /// One that was made elsewhere.
    pub(super) fn given(reference: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            file: None,
        }
    }
}

/// The folder of the recipe.
pub(super) fn recipe() -> PathBuf {
    workspace::root().join("e2e/kind/node")
}

/// What an image is made of, beside the recipe.
pub(super) struct Parts {
    kubernetes: PathBuf,
    kube_router: PathBuf,
}

impl Parts {
    /// Builds what is missing.
    pub(super) fn build() -> Result<Self> {
        Ok(Self {
            kubernetes: cluster::program()?,
            kube_router: KUBE_ROUTER.program()?,
        })
    }
}

/// The image for this checkout's recipe and Kubernetes, built where the cache has none.
pub(super) fn build(parts: &Parts) -> Result<NodeImage> {
    let key = key(parts)?;
    let folder = cache::folder("kind")?;
    let file = folder.join(format!("node-{key}.tar"));
    let image = NodeImage {
        reference: format!("{REPOSITORY}:{}-{key}", cluster::version()),
        file: Some(file.clone()),
    };
    let _lock = cache::lock("kind-node")?;
    if file.is_file() {
        return Ok(image);
    }
    let work = tempfile::tempdir_in(&folder).context("create a folder for the build")?;
    let unfinished = make(parts, &image.reference, work.path())?;
    remove_old(&folder)?;
    fs::rename(&unfinished, &file)
        .with_context(|| format!("move the finished image to {}", file.display()))?;
    Ok(image)
}

/// Builds the image anew, twice, in folders of different names and at different times, and compares the bytes.
pub(super) fn check(parts: &Parts) -> Result<()> {
    let reference = format!("{REPOSITORY}:{}-{}", cluster::version(), key(parts)?);
    let mut digests = Vec::new();
    for parent in [cache::folder("kind")?, std::env::temp_dir()] {
        let work = tempfile::tempdir_in(&parent).context("create a folder for the build")?;
        let digest = cache::sha256_file(&make(parts, &reference, work.path())?)?;
        println!(
            "{}",
            json!({"built in": work.path(), "sha256 of the archive": digest})
        );
        digests.push(digest);
    }
    ensure!(
        digests[0] == digests[1],
        "the same inputs gave two different archives of {reference}: {}",
        digests.join(", ")
    );
    Ok(())
}

/// Installs what images are made with.
pub(super) fn install_packages() -> Result<()> {
    cluster::install_packages(PACKAGES).context(Unable)
}

/// Makes the archive of the image in a folder, and answers its path.
fn make(parts: &Parts, reference: &str, work: &Path) -> Result<PathBuf> {
    install_packages()?;
    eprintln!("building the node image");
    let root = work.join("root.tar");
    root_file_system(parts, work, &root)?;
    let archive = work.join("image.tar");
    write(&root, reference, &archive)?;
    fs::remove_file(&root).with_context(|| format!("remove {}", root.display()))?;
    Ok(archive)
}

/// Removes the images of other inputs that are older than [`KEPT`].
fn remove_old(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("list {}", folder.display()))?
            .path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let made = fs::metadata(&path).and_then(|file| file.modified());
        let is_old = made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > KEPT));
        if name.starts_with("node-") && is_old {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Names an image by everything that goes into it.
fn key(parts: &Parts) -> Result<String> {
    let mut digest = Sha256::new();
    // The folder of a build is named by its sources.
    let kubernetes = parts
        .kubernetes
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default();
    let modules = [KIND.sum, KUBE_ROUTER.sum].join(" ");
    digest.update(format!("{modules} {EPOCH} {FORMAT} {}", kubernetes.display()));
    for name in ["customize.sh", "network.yaml", "packages.txt"] {
        digest.update(cache::sha256_file(&recipe().join(name))?);
    }
    let mut key = hex::encode(digest.finalize());
    key.truncate(KEY_DIGITS);
    Ok(key)
}

fn root_file_system(parts: &Parts, work: &Path, out: &Path) -> Result<()> {
    let pins = recipe().join("packages.txt");
    let archive = work.join("archive");
    fs::create_dir(&archive).with_context(|| format!("create {}", archive.display()))?;
    let source = packages::archive(&pins, &cache::folder("debs")?, &archive)?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args([
            "--variant=minbase",
            "--mode=root",
            "--format=tar",
            "--skip=output/dev",
        ])
        .arg(format!("--include={}", packages::names(&pins)?.join(",")))
        .args(["doc", "man", "locale"].map(|name| format!("--dpkgopt=path-exclude=/usr/share/{name}/*")))
        .arg("--dpkgopt=path-include=/usr/share/doc/*/copyright")
        .arg(format!(
            "--customize-hook={}",
            recipe().join("customize.sh").display()
        ))
        .arg(RELEASE)
        .arg(out)
        .arg(&source)
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .env("KIND_BASE", KIND.sources()?.join("images/base"))
        .env("KUBERNETES", &parts.kubernetes)
        .env("KUBE_ROUTER", &parts.kube_router)
        .env("PAUSE", cluster::pause(&parts.kubernetes))
        .env("VERSION", cluster::version())
        .env("NETWORK", recipe().join("network.yaml"))
        .stdin(Stdio::null());
    let output = mmdebstrap
        .output()
        .context("start mmdebstrap; on Debian: apt-get install mmdebstrap")?;
    ensure!(
        output.status.success(),
        "mmdebstrap, which needs root, failed: {}",
        last_lines(&String::from_utf8_lossy(&output.stderr))
    );
    Ok(())
}

/// How many of mmdebstrap's last lines are shown: what failed and where, without the packages before it.
const SHOWN_LINES: usize = 20;

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// Writes the root file system as an image of one layer, in an OCI archive.
fn write(root: &Path, reference: &str, out: &Path) -> Result<()> {
    let layer = cache::sha256_file(root)?;
    let size = fs::metadata(root)
        .with_context(|| format!("look at {}", root.display()))?
        .len();
    let config = json!({
        "created": CREATED, "architecture": "amd64", "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=docker"],
            "Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"],
            "StopSignal": "SIGRTMIN+3",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
    });
    let (config, configured) = blob(CONFIG, &config)?;
    let stored = json!({"mediaType": LAYER, "digest": format!("sha256:{layer}"), "size": size});
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": configured, "layers": [stored]});
    let (manifest, mut described) = blob(MANIFEST, &manifest)?;
    println!("{}", json!({"ref": reference, "digest": described["digest"]}));
    // podman reads the one name, docker the other.
    described["annotations"] =
        json!({"org.opencontainers.image.ref.name": reference, "io.containerd.image.name": reference});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]});

    let file = File::create(out).with_context(|| format!("create {}", out.display()))?;
    let mut archive = tar::Builder::new(file);
    let mut append = |name: &str, content: &[u8]| {
        archive.append_data(&mut header(content.len() as u64), name, Cursor::new(content))
    };
    let named = |content: &[u8]| format!("blobs/sha256/{}", hex::encode(Sha256::digest(content)));
    append("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).context("write the archive")?;
    append("index.json", &encode(&index)?).context("write the archive")?;
    // What docker before 25 reads in the place of an index: Debian 12 has 20.10.
    let for_docker = json!([{
        "Config": named(&config), "RepoTags": [reference], "Layers": [format!("blobs/sha256/{layer}")],
    }]);
    append("manifest.json", &encode(&for_docker)?).context("write the archive")?;
    append(&named(&config), &config).context("write the archive")?;
    append(&named(&manifest), &manifest).context("write the archive")?;
    let content = File::open(root).with_context(|| format!("open {}", root.display()))?;
    archive
        .append_data(&mut header(size), format!("blobs/sha256/{layer}"), content)
        .context("write the archive")?;
    archive.into_inner().context("write the archive")?;
    Ok(())
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn encode(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("encode image metadata as JSON")
}

/// The bytes of a document and its descriptor.
fn blob(media_type: &str, value: &Value) -> Result<(Vec<u8>, Value)> {
    let bytes = encode(value)?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
    let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
    Ok((bytes, descriptor))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_index_and_dockers_list_name_the_same_image() {
        let folder = tempfile::tempdir().unwrap();
        let (root, out) = (folder.path().join("root.tar"), folder.path().join("image.tar"));
        fs::write(&root, b"a root file system").unwrap();
        write(&root, "localhost/node:test", &out).unwrap();

        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(File::open(&out).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(name, content);
        }
        let json = |name: &str| -> Value { serde_json::from_slice(&files[name]).unwrap() };
        let blob = |descriptor: &Value| {
            descriptor["digest"]
                .as_str()
                .unwrap()
                .replace("sha256:", "blobs/sha256/")
        };
        let listed = &json("manifest.json")[0];
        let described = &json("index.json")["manifests"][0];
        let manifest = json(&blob(described));
        assert_eq!(
            listed["RepoTags"],
            json!([described["annotations"]["org.opencontainers.image.ref.name"]])
        );
        assert_eq!(listed["Config"], blob(&manifest["config"]));
        assert_eq!(listed["Layers"], json!([blob(&manifest["layers"][0])]));
        assert_eq!(files[&blob(&manifest["layers"][0])], b"a root file system");
    }
}
