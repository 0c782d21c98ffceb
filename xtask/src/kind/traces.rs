//! What a cluster of kind's changes on a machine, looked at before it and after it: nothing of it may stay.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::host;

/// Kernel settings that are looked at, below `/proc/sys`. A kubelet writes the first two folders', a container engine
/// the others'.
const SETTINGS: [&str; 8] = [
    "vm",
    "kernel",
    "fs/inotify",
    "net/bridge",
    "net/ipv4",
    "net/ipv4/conf",
    "net/ipv6/conf",
    "net/netfilter",
];
/// Those that the kernel changes by itself.
const VOLATILE: [&str; 6] = [
    "kernel/ns_last_pid",
    "kernel/perf_event_max_sample_rate",
    "kernel/pty/nr",
    "kernel/random",
    "net/netfilter/nf_conntrack_count",
    "vm/stat_refresh",
];
/// Programs that hold a container, or that run beside one.
const PROGRAMS: [&str; 6] = [
    "aardvark-dns",
    "conmon",
    "kubelet",
    "netavark",
    "podman",
    "testbed-chain",
];
/// How deep cgroups are looked at: a container's own is in its parent's, in each hierarchy.
const CGROUP_DEPTH: usize = 3;

/// What can be seen of it, a line for each thing.
pub(crate) struct Traces(BTreeSet<String>);

impl Traces {
    /// As it is now.
    pub(crate) fn now() -> Result<Self> {
        let mut lines = BTreeSet::new();
        lines.extend(settings());
        lines.extend(mounts(&read("/proc/self/mountinfo")?));
        lines.extend(listed("link", "/sys/class/net"));
        lines.extend(listed("network namespace", "/run/netns"));
        lines.extend(host::places().map(|path| format!("path {}", path.display())));
        cgroups(Path::new("/sys/fs/cgroup"), CGROUP_DEPTH, &mut lines);
        lines.extend(programs(&PROGRAMS));
        lines.extend(rules());
        Ok(Self(lines))
    }

    /// What is there afterwards and was not before, and what was and is not, with `+` and `-`.
    pub(crate) fn changes(&self, after: &Self) -> Vec<String> {
        let gone = self.0.difference(&after.0).map(|line| format!("- {line}"));
        let come = after.0.difference(&self.0).map(|line| format!("+ {line}"));
        gone.chain(come).collect()
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

fn settings() -> Vec<String> {
    let root = Path::new("/proc/sys");
    let mut found = Vec::new();
    for name in SETTINGS {
        let folder = root.join(name);
        files(
            &folder,
            name.ends_with("/conf") || !name.starts_with("net"),
            &mut found,
        );
    }
    let name = |path: &PathBuf| path.strip_prefix(root).unwrap_or(path).display().to_string();
    found
        .iter()
        .map(|path| (name(path), path))
        .filter(|(name, _)| !VOLATILE.iter().any(|volatile| name.starts_with(volatile)))
        // Some can only be written.
        .filter_map(|(name, path)| Some(format!("setting {name} {}", fs::read_to_string(path).ok()?.trim())))
        .collect()
}

/// The files of a folder, and of those in it where `deep`. One that is gone meanwhile, or was never there, has none.
fn files(folder: &Path, deep: bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            found.push(path);
        } else if deep {
            files(&path, deep, found);
        }
    }
}

/// The places of mounts in what `/proc/self/mountinfo` says.
fn mounts(mountinfo: &str) -> impl Iterator<Item = String> {
    let places = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    places.map(|place| format!("mount {place}"))
}

fn listed(what: &str, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| format!("{what} {}", entry.file_name().display()))
        .collect()
}

fn cgroups(folder: &Path, depth: usize, lines: &mut BTreeSet<String>) {
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            lines.insert(format!("cgroup {}", entry.path().display()));
            cgroups(&entry.path(), depth - 1, lines);
        }
    }
}

fn programs(names: &[&str]) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let number: u32 = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            let name = name.trim();
            // One that has ended has no memory, and nobody but its parent can take away what is left of it.
            if fs::read(entry.path().join("cmdline")).ok()?.is_empty() {
                return None;
            }
            names.contains(&name).then(|| format!("process {number} {name}"))
        })
        .collect()
}

/// The firewall's rules without their counters. A machine without nft has none that kind's could be among.
fn rules() -> Vec<String> {
    let Ok(output) = Command::new("nft")
        .args(["--stateless", "list", "ruleset"])
        .output()
    else {
        return Vec::new();
    };
    let mut table = "";
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("table ") {
            table = line.trim_end_matches(" {");
        }
        lines.push(format!("rule {table}: {}", line.trim()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Traces {
        Traces(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    #[test]
    fn what_came_and_what_went_is_told_and_what_stays_is_not() {
        let before = of(&["setting vm/panic_on_oom 0", "link lo", "link eth0"]);
        let after = of(&[
            "setting vm/panic_on_oom 1",
            "link lo",
            "link eth0",
            "cgroup /libpod_parent",
        ]);
        assert_eq!(
            before.changes(&after),
            [
                "- setting vm/panic_on_oom 0",
                "+ cgroup /libpod_parent",
                "+ setting vm/panic_on_oom 1"
            ]
        );
        assert!(before.changes(&before).is_empty());
    }

    #[test]
    fn a_process_counts_until_it_has_ended_whoever_asks_how() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let folder = format!("/proc/{}", child.id());
        let listed = || programs(&["sleep"]).contains(&format!("process {} sleep", child.id()));
        // It has this program's name until it has become another, whose arguments come a moment after its name.
        while fs::read_to_string(format!("{folder}/comm")).unwrap() != "sleep\n"
            || fs::read(format!("{folder}/cmdline")).unwrap().is_empty()
        {
            std::thread::yield_now();
        }
        assert!(listed());
        let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(killed.success());
        while !fs::read(format!("{folder}/cmdline")).unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert!(!listed());
        child.wait().unwrap();
    }

    #[test]
    fn a_mount_is_known_by_its_place() {
        let line = "36 35 98:0 /mnt1 /run/netns rw,noatime master:1 - tmpfs tmpfs rw\n";
        assert_eq!(mounts(line).collect::<Vec<_>>(), ["mount /run/netns"]);
        assert_eq!(mounts("").count(), 0);
    }

    #[test]
    fn what_a_kubelet_writes_for_the_whole_machine_is_looked_at() {
        let now = Traces::now().unwrap();
        let settings = [
            "vm/overcommit_memory",
            "kernel/panic",
            "kernel/panic_on_oops",
            "net/ipv4/ip_forward",
        ];
        for setting in settings {
            let begins = format!("setting {setting} ");
            assert!(now.0.iter().any(|line| line.starts_with(&begins)), "{setting}");
        }
    }
}
