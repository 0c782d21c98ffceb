//! How much memory this process may still use.

use std::path::{Path, PathBuf};

use crate::backend::error::{AllocationError, DeviceFault};

/// Bytes that can be allocated without another process, or the kernel, suffering for it: what the machine has
/// available, or what the limit of this process's control group leaves, whichever is less. Where the system says
/// neither, there is no bound to be known.
pub(super) fn available() -> u64 {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let machine = meminfo_available(&read("/proc/meminfo".into()));
    let groups = read("/proc/self/cgroup".into());
    let own = own_group(&groups);
    let group = ["/sys/fs/cgroup".into(), Path::new("/sys/fs/cgroup").join(own)]
        .map(|folder: PathBuf| {
            let file = |name| read(folder.join(name));
            group_available(&file("memory.max"), &file("memory.current"), &file("memory.stat"))
        })
        .into_iter()
        .flatten()
        .min();
    machine.into_iter().chain(group).min().unwrap_or(u64::MAX)
}

/// Makes sure that memory can be had, without touching it.
///
/// # Errors
/// It is more than is available, or the process may not map as much.
pub(super) fn claim(what: &str, bytes: u64) -> Result<(), AllocationError> {
    let available = available();
    let mapped =
        || usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    if bytes <= available && mapped() {
        return Ok(());
    }
    Err(AllocationError {
        what: what.to_owned(),
        bytes,
        available,
        fault: DeviceFault::OutOfMemory,
    })
}

/// `MemAvailable` of `/proc/meminfo` (proc(5)), which counts what the kernel would reclaim.
fn meminfo_available(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Path of the process's group in the unified hierarchy, relative to its root (cgroups(7)).
fn own_group(text: &str) -> &str {
    text.lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default()
}

/// What a group's limit leaves, the kernel's caches of its files counted as free; `None` without a limit.
fn group_available(limit: &str, current: &str, stat: &str) -> Option<u64> {
    let limit: u64 = limit.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let pages = |name: &str| {
        let value = stat.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().parse::<u64>().ok()
    };
    // A model file that was read twice stands among the active pages; at the limit both kinds are given up.
    let files = [pages("inactive_file "), pages("active_file ")];
    let reclaimable = files.into_iter().flatten().fold(0, u64::saturating_add);
    Some(limit.saturating_sub(current.saturating_sub(reclaimable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_is_available() {
        let text = "MemTotal:       16000 kB\nMemFree:  10 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(meminfo_available(text), Some(2 << 20));
        assert_eq!(meminfo_available("MemFree: 10 kB"), None);
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_cannot_be_reclaimed() {
        assert_eq!(
            group_available("1000\n", "400\n", "anon 250\ninactive_file 100\nactive_file 50\n"),
            Some(750)
        );
        assert_eq!(group_available("max\n", "400\n", ""), None);
        assert_eq!(group_available("100", "400", ""), Some(0));
        assert_eq!(own_group("1:memory:/old\n0::/kubepods/pod1\n"), "kubepods/pod1");
    }

    #[test]
    fn more_than_any_machine_has_cannot_be_claimed() {
        let error = claim("a test", u64::MAX / 2).expect_err("too much");
        assert_eq!((error.what.as_str(), error.bytes), ("a test", u64::MAX / 2));
        assert!(claim("a test", 1 << 10).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_system_says_is_read_without_a_panic(a: String, b: String, c: String) {
            let _ = (meminfo_available(&a), own_group(&b), group_available(&a, &b, &c));
        }
    }
}
