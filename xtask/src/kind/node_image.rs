//! The image of kind's nodes, made of pinned packages, kind's own files and the testbed's Kubernetes, without a container
//! engine. The same inputs give the same bytes.

use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::packages::{self, RELEASE};
use crate::{cache, cluster, workspace};

/// kind, which is pinned: it and the files that it expects in a node belong together.
const KIND: &str = "sigs.k8s.io/kind@v0.33.0";
/// The digest of that module, in the words of go.sum.
const KIND_SUM: &str = "h1:AjvDv3vOygb/VKLVQW87lfktIBzkxR8Ump9DjxC8+Lk=";
/// What makes a root file system out of packages.
const PACKAGES: &[&str] = &["mmdebstrap"];
/// The time of everything in the image, 2026-01-01: a real one would change the digest.
const EPOCH: &str = "1767225600";
/// The same in the image's configuration.
const CREATED: &str = "2026-01-01T00:00:00Z";
/// How many hex digits of the inputs' digest name an image: 64 bits, never the same for two of one machine's.
const KEY_DIGITS: usize = 16;
const REPOSITORY: &str = "localhost/cocoon-kind-node";

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

/// What `go mod download` says about a module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    dir: PathBuf,
    sum: String,
}

/// The folder of the recipe.
pub(super) fn recipe() -> PathBuf {
    workspace::root().join("e2e/kind/node")
}

/// kind itself, built on first use.
pub(super) fn kind() -> Result<PathBuf> {
    let version = KIND.rsplit('@').next().unwrap_or(KIND);
    let folder = cache::folder("kind")?.join(version);
    let program = folder.join("kind");
    let _lock = cache::lock("kind")?;
    if program.is_file() {
        return Ok(program);
    }
    module()?;
    eprintln!("building kind {version}");
    let status = go()
        .args(["install", KIND])
        .env("GOBIN", &folder)
        .status()
        .context("run go: install Go 1.25 or later from https://go.dev/dl")?;
    ensure!(status.success(), "go install {KIND} failed");
    Ok(program)
}

/// The image for this checkout's recipe and Kubernetes, built where the cache has none, or where `again`.
pub(super) fn build(kubernetes: &Path, again: bool) -> Result<NodeImage> {
    let key = key(kubernetes)?;
    let folder = cache::folder("kind")?;
    let file = folder.join(format!("node-{key}.tar"));
    let image = NodeImage {
        reference: format!("{REPOSITORY}:{}-{key}", cluster::version()),
        file: Some(file.clone()),
    };
    let _lock = cache::lock("kind-node")?;
    if file.is_file() && !again {
        return Ok(image);
    }
    cluster::install_packages(PACKAGES)?;
    eprintln!("building the node image");
    let work = tempfile::tempdir_in(&folder).context("create a folder for the build")?;
    let root = work.path().join("root.tar");
    root_file_system(kubernetes, work.path(), &root)?;
    let unfinished = work.path().join("image.tar");
    write(&root, &image.reference, &unfinished)?;
    fs::rename(&unfinished, &file)
        .with_context(|| format!("move the finished image to {}", file.display()))?;
    Ok(image)
}

/// Names an image by everything that goes into it.
fn key(kubernetes: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    // The folder of a build is named by its sources.
    digest.update(format!("{KIND_SUM} {EPOCH} {}", kubernetes.display()));
    for name in ["customize.sh", "network.yaml", "packages.txt"] {
        digest.update(cache::sha256_file(&recipe().join(name))?);
    }
    let mut key = hex::encode(digest.finalize());
    key.truncate(KEY_DIGITS);
    Ok(key)
}

/// kind's module, whose files are a part of the image.
fn module() -> Result<PathBuf> {
    let output = go()
        .args(["mod", "download", "-json", KIND])
        .output()
        .context("run go: install Go 1.25 or later from https://go.dev/dl")?;
    ensure!(
        output.status.success(),
        "go mod download {KIND} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let module: Module = serde_json::from_slice(&output.stdout).context("read what go says about kind")?;
    ensure!(
        module.sum == KIND_SUM,
        "{KIND} has the digest {}, expected {KIND_SUM}",
        module.sum
    );
    Ok(module.dir)
}

fn go() -> Command {
    let mut go = Command::new("go");
    go.env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-buildvcs=false -trimpath")
        // Outside of any module, so that only kind's own requirements count.
        .current_dir("/");
    go
}

fn root_file_system(kubernetes: &Path, work: &Path, out: &Path) -> Result<()> {
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
        .env("KIND_BASE", module()?.join("images/base"))
        .env("KUBERNETES", kubernetes)
        .env("PAUSE", cluster::pause(kubernetes))
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
