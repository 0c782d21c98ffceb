//! How a finished release is published, in the words that a person types. Nothing here runs them.

use std::path::Path;

use super::folder::SUMS;
use super::identity::Release;
use super::plugin;

/// What to do with the folder `out`.
pub(super) fn advice(release: &Release, out: &Path, dry_run: bool) -> String {
    let start = if dry_run {
        "Nothing was signed or pushed. Once the commit has its tag, `./x release --repository OWNER/NAME` makes it again, and these publish it:"
    } else {
        "Nothing was signed or pushed. These publish it, with what you logged in to:"
    };
    format!("{start}\n\n{}", commands(release, out).join("\n"))
}

/// Images first, since the chart names them by digest; the page last, which tells people.
fn commands(release: &Release, out: &Path) -> Vec<String> {
    // Without it, skopeo copies the image for the processor that it runs on.
    let all = if release.architectures.len() > 1 {
        " --all"
    } else {
        ""
    };
    let image = |program: &str, name: &str| {
        format!(
            "  skopeo copy{all} --preserve-digests oci-archive:{} docker://{}/{name}:{}",
            release.image_archive(program),
            release.registry(),
            release.version
        )
    };
    vec![
        format!("  cd {}", out.display()),
        format!("  sha256sum --check {SUMS}"),
        image("cocoon-operator", "operator"),
        image("gpu-agent", "gpu-agent"),
        format!("  helm push {} {}", release.chart_package(), release.charts()),
        format!(
            "  gh release create {} --repo {} --verify-tag --notes-file notes.md *",
            release.tag(),
            release.repository
        ),
        format!(
            "  kubectl krew install --manifest={} --archive={}   # to try it; krew's index takes {}",
            plugin::MANIFEST,
            release.file(plugin::PROGRAM, release.architectures[0], "tar.gz"),
            plugin::MANIFEST
        ),
    ]
}
