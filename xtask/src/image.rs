//! `cargo xtask image`: reproducible OCI images of the operator and the agent, made without a container engine.
//!
//! An image has two layers: the few files of pinned Debian packages that a Rust binary needs ([`debian`]), shared by
//! both images, and the release binary ([`binary`]). Before anything is written, [`elf`] proves that the first layer
//! satisfies the second. The same inputs give the same bytes, so the digest names the content and the tag carries it.
//!
//! Images for a processor that this machine does not have are cross-compiled ([`cross`]).

mod architecture;
mod archive;
mod binary;
mod cross;
mod debian;
mod elf;
pub(crate) mod layer;
mod library;
pub(crate) mod oci;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::{cache, workspace};
pub(crate) use architecture::Architecture;
pub(crate) use binary::{build as build_binary, target_folder};
pub(crate) use cross::c_compiler_version;
pub(crate) use debian::{Package, Pins};
use layer::Layer;
pub(crate) use library::{Library, rustc, source as library_source};
pub(crate) use oci::Built;

/// The list of what was built, beside the archives.
pub(crate) const LIST: &str = "images.json";

/// What images are named below that no registry has, and nodes import.
const LOCAL: &str = "cocoon.local";

/// Arguments of `cargo xtask image`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which images to build [default: all]
    pub(crate) images: Vec<Name>,
    /// Folder for the archives and images.json [default: images in the target folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Use this operator binary instead of building it
    #[arg(long, value_name = "PATH")]
    pub(crate) operator_binary: Option<PathBuf>,
    /// Use this agent binary instead of building it
    #[arg(long, value_name = "PATH")]
    pub(crate) agent_binary: Option<PathBuf>,
    /// Name the images below this registry and path
    #[arg(long, value_name = "PREFIX", default_value = LOCAL)]
    pub(crate) registry: String,
    /// Tag the images so instead of by version and content
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Processors to build for, separated by commas: an image for several is an index of one for each
    #[arg(long, value_delimiter = ',', default_value = "amd64")]
    pub(crate) arch: Vec<Architecture>,
    /// Pin the package versions that the archive offers, and build nothing
    #[arg(long)]
    pub(crate) repin: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            out: None,
            operator_binary: None,
            agent_binary: None,
            registry: LOCAL.to_owned(),
            tag: None,
            arch: vec![Architecture::Amd64],
            repin: false,
        }
    }
}

/// An image that can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// The operator
    Operator,
    /// The agent
    Agent,
}

impl Name {
    fn parts(self) -> &'static Parts {
        match self {
            Self::Operator => &Parts {
                repository: "operator",
                package: "cocoon-operator",
                binary: "cocoon-operator",
                description: "Reconciles Cocoon resources, dispatches jobs to agents and settles usage in TON",
            },
            Self::Agent => &Parts {
                repository: "gpu-agent",
                package: "gpu-agent",
                binary: "gpu-agent",
                description: "Loads one model, serves it, meters it",
            },
        }
    }
}

/// What makes one image different from another.
struct Parts {
    /// Reference below the registry, without a tag.
    repository: &'static str,
    /// Cargo package, and its binary target.
    package: &'static str,
    binary: &'static str,
    description: &'static str,
}

/// Builds the images and prints one JSON object per image; progress goes to standard error.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.repin {
        return args
            .arch
            .iter()
            .try_for_each(|arch| debian::repin(&workspace::root().join(arch.pins())));
    }
    for built in build(args)? {
        println!(
            "{}",
            serde_json::to_string(&built).context("encode the result as JSON")?
        );
    }
    Ok(())
}

/// The pinned Debian files that every image for a processor has.
pub(crate) fn pins(architecture: Architecture) -> Result<Pins> {
    debian::read_pins(&workspace::root().join(architecture.pins()))
}

/// The layer of those files.
pub(crate) fn base(architecture: Architecture) -> Result<Layer> {
    debian::base(
        &workspace::root().join(architecture.pins()),
        &cache::folder("debs")?,
    )
}

/// Builds the images that `args` asks for and writes `images.json` beside their archives.
pub(crate) fn build(args: &Args) -> Result<Vec<Built>> {
    let out = args.out.clone().unwrap_or_else(|| target_folder().join("images"));
    fs::create_dir_all(&out).with_context(|| format!("create output folder {}", out.display()))?;
    let out = out
        .canonicalize()
        .with_context(|| format!("resolve output folder {}", out.display()))?;
    let names = if args.images.is_empty() {
        Name::value_variants()
    } else {
        &args.images
    };
    let mut bases = Vec::new();
    for architecture in &args.arch {
        bases.push((*architecture, base(*architecture)?));
    }

    let mut built = Vec::new();
    for name in names {
        let given = match name {
            Name::Operator => &args.operator_binary,
            Name::Agent => &args.agent_binary,
        };
        ensure!(
            given.is_none() || bases.len() == 1,
            "a given binary is for one processor: name it with --arch, or leave the binaries to be built"
        );
        let parts = name.parts();
        let mut images = Vec::new();
        for (architecture, base) in &bases {
            let binary = match given {
                Some(path) => path.clone(),
                None => binary::build(parts.package, parts.binary, *architecture)?,
            };
            images.push(assemble(parts, &args.registry, *architecture, base, &binary)?);
        }
        built.push(oci::write(&images, args.tag.as_deref(), &out)?);
    }
    let list = serde_json::to_vec_pretty(&built).context("encode the list of images as JSON")?;
    let path = out.join(LIST);
    fs::write(&path, list).with_context(|| format!("write {}", path.display()))?;
    Ok(built)
}

/// Puts `binary` on top of `base`, having checked that it can start there.
fn assemble(
    parts: &'static Parts,
    registry: &str,
    architecture: Architecture,
    base: &Layer,
    binary: &Path,
) -> Result<oci::Image<'static>> {
    let content = fs::read(binary).with_context(|| format!("read binary {}", binary.display()))?;
    elf::check_closure(&content, architecture, base).with_context(|| {
        let pins = architecture.pins();
        format!("{} cannot run on the files that {pins} lists", binary.display())
    })?;
    let path = format!("usr/bin/{}", parts.binary);
    let mut top = Layer::default();
    top.file(&path, 0o755, content);
    Ok(oci::Image {
        architecture,
        repository: format!("{registry}/{}", parts.repository),
        title: parts.binary,
        description: parts.description,
        version: env!("CARGO_PKG_VERSION"),
        entrypoint: format!("/{path}"),
        layers: vec![("Debian packages", base.clone()), (parts.binary, top)],
    })
}
