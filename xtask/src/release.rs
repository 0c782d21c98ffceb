//! `cargo xtask release`: everything that a release consists of, in one folder, made of one commit.
//!
//! | file | what it is |
//! |---|---|
//! | `NAME-VERSION-linux-amd64.oci.tar` | an image, as an OCI archive; with `--arch amd64,arm64` an index of two |
//! | `cocoon-farm-VERSION.tgz`, `….oci.tar` | the chart, as Helm packs it and as an OCI artifact |
//! | `kubectl-cocoon-VERSION-linux-amd64.tar.gz`, `cocoon.yaml` | the plugin, and krew's manifest of it |
//! | `NAME-VERSION-linux-amd64.cdx.json` | what each program consists of, as `CycloneDX` |
//! | `cocoon-VERSION.intoto.json` | what was made of what, as an in-toto statement of SLSA provenance |
//! | `notes.md`, `SHA256SUMS` | the changelog's section, and the digest of every file |
//!
//! A second run of the same commit gives the same bytes, so that whoever publishes a release can compare `SHA256SUMS`
//! with another machine's. Nothing is signed or pushed here: keys and tokens stay with the person, who is told the
//! commands.

mod changelog;
mod chart;
mod check;
mod folder;
mod git;
mod identity;
mod plugin;
mod provenance;
mod publish;
mod sbom;
mod workflows;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::image::{self, Architecture, target_folder};
use crate::stack;
use folder::{SUMS, make_room, place, sums};
use identity::Release;

pub(crate) use check::Check;

/// Repository on GitHub, until a release names another one: nobody's, so that nothing is published there.
const REPOSITORY: &str = "owner/cocoon";

/// Arguments of `cargo xtask release`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ask for no tag, and leave it at the folder
    #[arg(long)]
    dry_run: bool,
    /// Folder for the release [default: release-VERSION in the target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Repository on GitHub that publishes: images and chart are named below ghcr.io by it, and archives are downloaded
    /// from it
    #[arg(long, value_name = "OWNER/NAME", default_value = REPOSITORY)]
    repository: String,
    /// Processors to make images and archives for, separated by commas; arm64 needs Debian's gcc-aarch64-linux-gnu and
    /// qemu-user
    #[arg(long, value_delimiter = ',', default_value = "amd64")]
    arch: Vec<Architecture>,
    #[command(flatten)]
    programs: Programs,
}

/// Programs that were built already. A release that is published takes none: what they were built from is not known.
#[derive(clap::Args, Default)]
struct Programs {
    /// Use this operator binary instead of building it
    #[arg(long = "operator-binary", value_name = "PATH", requires = "dry_run")]
    operator: Option<PathBuf>,
    /// Use this agent binary instead of building it
    #[arg(long = "agent-binary", value_name = "PATH", requires = "dry_run")]
    agent: Option<PathBuf>,
    /// Use this plugin instead of building it
    #[arg(long = "plugin-binary", value_name = "PATH", requires = "dry_run")]
    plugin: Option<PathBuf>,
}

/// Makes a release of the commit that is checked out, checks it, and says how it is published.
pub(crate) fn run(args: &Args) -> Result<()> {
    let release = Release::of_checkout(&args.repository, &args.arch)?;
    git::refuse_changes()?;
    if !args.dry_run {
        ensure!(
            args.repository != REPOSITORY,
            "{REPOSITORY} is a placeholder: name the repository that publishes with --repository OWNER/NAME, or add --dry-run"
        );
        git::refuse_untagged(&release.tag())?;
    }
    let out = match &args.out {
        Some(out) => out.clone(),
        None => target_folder().join(format!("release-{}", release.version)),
    };
    make(&release, &args.programs, &out)?;
    report(&check::check(&release, &out))?;
    print!("{}", fs::read_to_string(out.join(SUMS)).context("read the sums")?);
    println!("\n{} is in {}\n", release.tag(), out.display());
    println!("{}", publish::advice(&release, &out, args.dry_run));
    Ok(())
}

/// What `./x test release` looks at: the workflows, and a release of the checkout as it is, made twice. Its images are
/// those that the end-to-end tests ran; its plugin is the tests' as well, which saves building it in another profile.
pub(crate) fn checks() -> Result<Vec<Check>> {
    let mut checks = workflows::check()?;
    let release = Release::of_checkout(REPOSITORY, &[Architecture::Amd64])?;
    let programs = Programs {
        plugin: Some(stack::build_binaries()?.join(plugin::PROGRAM)),
        ..Programs::default()
    };
    let folder = tempfile::tempdir().context("create a temporary folder")?;
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    make(&release, &programs, &first)?;
    checks.extend(check::check(&release, &first));
    make(&release, &programs, &second)?;
    let sums = |folder: &Path| fs::read_to_string(folder.join(SUMS)).context("read the sums");
    let (first, second) = (sums(&first)?, sums(&second)?);
    let same = if first == second {
        Ok(())
    } else {
        Err(anyhow::anyhow!("the first was\n{first}and the second\n{second}"))
    };
    checks.push(("two runs give the same sums".into(), same));
    Ok(checks)
}

fn report(checks: &[Check]) -> Result<()> {
    let failed: Vec<String> = checks
        .iter()
        .filter_map(|(name, result)| result.as_ref().err().map(|error| format!("  {name}: {error:#}")))
        .collect();
    if !failed.is_empty() {
        bail!(
            "the release was made, and must not be published:\n{}",
            failed.join("\n")
        );
    }
    eprintln!("{} checks passed", checks.len());
    Ok(())
}

/// Fills the folder `out`.
fn make(release: &Release, programs: &Programs, out: &Path) -> Result<()> {
    make_room(out)?;
    let mut images = image::build(&image::Args {
        out: Some(out.to_owned()),
        registry: release.registry(),
        tag: Some(release.version.clone()),
        arch: release.architectures.clone(),
        operator_binary: programs.operator.clone(),
        agent_binary: programs.agent.clone(),
        ..image::Args::default()
    })?;
    for image in &mut images {
        let name = release.image_archive(&image.title);
        let file = out.join(&name);
        fs::rename(&image.file, &file).with_context(|| format!("rename an image to {name}"))?;
        image.file = file;
    }
    fs::remove_file(out.join(image::LIST)).context("remove the list of images")?;
    let package = chart::package(release, &images)?;
    place(out, &release.chart_package(), &package)?;
    place(out, &release.chart_archive(), &chart::artifact(&package)?)?;
    let mut archives = Vec::new();
    for architecture in &release.architectures {
        let archive = plugin::pack(*architecture, programs.plugin.as_deref())?;
        let name = release.file(plugin::PROGRAM, *architecture, "tar.gz");
        place(out, &name, &archive)?;
        archives.push((*architecture, image::oci::sha256(&archive)));
    }
    place(out, plugin::MANIFEST, &plugin::manifest(release, &archives)?)?;
    for (name, bom) in sbom::all(release, &images)? {
        place(out, &name, &bom)?;
    }
    place(out, "notes.md", release.changes.notes.as_bytes())?;
    let statement = provenance::statement(release, &images, &sums(out)?)?;
    place(
        out,
        &format!("cocoon-{}.intoto.json", release.version),
        &statement,
    )?;
    let lines: Vec<String> = sums(out)?
        .iter()
        .map(|(name, sha256)| format!("{sha256}  {name}\n"))
        .collect();
    place(out, SUMS, lines.concat().as_bytes())
}
