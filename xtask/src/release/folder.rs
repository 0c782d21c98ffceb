//! The folder of a release: what lies in it, and the digest of each file.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::cache;
use crate::image::oci;

/// The file with the digest of every other one.
pub(super) const SUMS: &str = "SHA256SUMS";

/// Makes the folder, and empties it of a release before. Anything else in it is somebody's.
pub(super) fn make_room(out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let files = names(out)?;
    ensure!(
        files.is_empty() || files.iter().any(|name| name == SUMS),
        "{} is not empty, and holds no release: name another folder with --out, or empty it",
        out.display()
    );
    for name in files {
        fs::remove_file(out.join(&name)).with_context(|| format!("remove {name} of the release before"))?;
    }
    Ok(())
}

/// Names of what lies in a folder, sorted.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let list = || format!("list {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(list)? {
        names.push(
            entry
                .with_context(list)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.sort();
    Ok(names)
}

/// Every file of a folder but [`SUMS`], with its lower-case hex sha256.
pub(super) fn sums(folder: &Path) -> Result<Vec<(String, String)>> {
    names(folder)?
        .into_iter()
        .filter(|name| name != SUMS)
        .map(|name| {
            let sha256 = cache::sha256_file(&folder.join(&name))?;
            Ok((name, sha256))
        })
        .collect()
}

/// Writes a file of the release, whole or not at all.
pub(super) fn place(out: &Path, name: &str, content: &[u8]) -> Result<()> {
    oci::place(&out.join(name), content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_before_makes_room_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        place(folder.path(), "mine.txt", b"a").unwrap();
        let error = make_room(folder.path()).unwrap_err().to_string();
        assert!(error.contains("--out"), "{error}");
        assert_eq!(names(folder.path()).unwrap(), ["mine.txt"]);
        place(folder.path(), SUMS, b"").unwrap();
        make_room(folder.path()).unwrap();
        assert!(names(folder.path()).unwrap().is_empty());
    }
}
