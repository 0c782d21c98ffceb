//! The download and build cache: files named by their content, written whole or not at all.
//!
//! It lives outside the checkout so that a fresh clone starts warm, and everything in it can be deleted at any
//! time: each user of the cache knows how to make its entry again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// The cache folder: `COCOON_CACHE`, else `$XDG_CACHE_HOME/cocoon`, else `$HOME/.cache/cocoon`.
pub(crate) fn root() -> Result<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let root = if let Some(dir) = named("COCOON_CACHE") {
        dir
    } else if let Some(dir) = named("XDG_CACHE_HOME") {
        dir.join("cocoon")
    } else if let Some(home) = named("HOME") {
        home.join(".cache/cocoon")
    } else {
        bail!("cannot find a cache folder: set COCOON_CACHE, XDG_CACHE_HOME or HOME");
    };
    std::path::absolute(&root).with_context(|| format!("make cache folder {} absolute", root.display()))
}

/// The cache folder `name` below [`root`], created when missing.
pub(crate) fn folder(name: &str) -> Result<PathBuf> {
    let dir = root()?.join(name);
    fs::create_dir_all(&dir).with_context(|| format!("create cache folder {}", dir.display()))?;
    Ok(dir)
}

/// Holds an exclusive lock on the cache entry `name` until dropped, so that two commands at once do not both make it.
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the open file")] File);

/// Waits for the lock of the cache entry `name`.
pub(crate) fn lock(name: &str) -> Result<Lock> {
    let path = folder("locks")?.join(name);
    let file = File::create(&path).with_context(|| format!("create lock file {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(Lock(file))
}

/// The lower-case hex sha256 of the file at `path`.
pub(crate) fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut digest = Sha256::new();
    io::copy(&mut file, &mut digest).with_context(|| format!("read {}", path.display()))?;
    Ok(hex::encode(digest.finalize()))
}

/// What a file placed by [`install`] must be.
pub(crate) struct Expected<'a> {
    /// Lower-case hex sha256 of the content.
    pub(crate) sha256: &'a str,
    /// Unix permission bits.
    pub(crate) mode: u32,
}

/// Copies `source` to `path` and renames it into place only once its digest is the expected one.
pub(crate) fn install(path: &Path, source: &mut dyn Read, expected: &Expected<'_>) -> Result<()> {
    let dir = path
        .parent()
        .with_context(|| format!("{} has no parent folder", path.display()))?;
    fs::create_dir_all(dir).with_context(|| format!("create folder {}", dir.display()))?;
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(expected.mode))
        .tempfile_in(dir)
        .with_context(|| format!("create a temporary file in {}", dir.display()))?;
    let sha256 = copy_hashed(source, file.as_file_mut())
        .with_context(|| format!("write the content of {}", path.display()))?;
    ensure!(
        sha256 == expected.sha256,
        "{} has sha256 {sha256}, expected {}: the source changed or the download is damaged, so nothing was kept",
        path.display(),
        expected.sha256
    );
    file.as_file()
        .sync_all()
        .with_context(|| format!("flush {}", path.display()))?;
    file.persist(path)
        .with_context(|| format!("move the finished file to {}", path.display()))?;
    Ok(())
}

fn copy_hashed(source: &mut dyn Read, sink: &mut dyn Write) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&buffer[..read]);
        sink.write_all(&buffer[..read])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn a_file_with_the_expected_digest_is_placed_with_its_mode() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/hello");
        install(
            &path,
            &mut &b"hello"[..],
            &Expected {
                sha256: HELLO,
                mode: 0o755,
            },
        )
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(sha256_file(&path).unwrap(), HELLO);
    }

    #[test]
    fn a_file_with_another_digest_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hello");
        let error = install(
            &path,
            &mut &b"hallo"[..],
            &Expected {
                sha256: HELLO,
                mode: 0o644,
            },
        )
        .unwrap_err();
        assert!(error.to_string().contains(HELLO), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
