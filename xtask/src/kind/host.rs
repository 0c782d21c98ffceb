//! What podman leaves on the machine after its last container, taken back: firewall chains, forwarding, cgroups and
//! empty folders. What was there before the first one stays.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::engine::PODMAN_RUN;

/// The file in the state folder that says how the machine was.
const FILE: &str = "before.json";
/// Kernel settings that netavark changes for the whole machine.
const SETTINGS: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
/// The parent of podman's cgroups, in every hierarchy.
const CGROUP: &str = "libpod_parent";
const CGROUPS: &str = "/sys/fs/cgroup";
/// Files that podman keeps where no setting moves them.
const FILES: [&str; 3] = [
    "/run/containers/networks/aardvark.lock",
    "/run/containers/networks/ipam.db",
    "/var/lib/containers/cache/blob-info-cache-v1.boltdb",
];
/// Folders that podman, runc and kind make where they are missing, the inner ones first.
const FOLDERS: [&str; 8] = [
    "/run/containers/networks/aardvark-dns",
    "/run/containers/networks",
    "/run/containers",
    "/run/netns",
    "/run/runc",
    "/var/lib/containers/cache",
    "/var/lib/containers",
    "/lib/modules",
];
/// What netavark's chains begin with.
const NETAVARK: &str = "NETAVARK";
/// Those that all networks share. Another one is of a network that is there.
const SHARED_CHAINS: [&str; 4] = [
    "NETAVARK_FORWARD",
    "NETAVARK-HOSTPORT-DNAT",
    "NETAVARK-HOSTPORT-MASQ",
    "NETAVARK-HOSTPORT-SETMARK",
];
/// Families of firewall rules, each with the command that speaks of it.
const FAMILIES: [(&str, &str); 2] = [("ip", "iptables"), ("ip6", "ip6tables")];
/// The tables in which netavark has chains.
const TABLES: [&str; 2] = ["nat", "filter"];

/// How the machine was before the first container.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    settings: Vec<(String, String)>,
    /// Lines of `nft list tables`.
    tables: Vec<String>,
    netavark: bool,
    cgroups: Vec<PathBuf>,
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

/// The files and folders of podman's and kind's that are there.
pub(super) fn places() -> impl Iterator<Item = PathBuf> {
    let all = FILES.into_iter().chain(FOLDERS).chain([PODMAN_RUN]);
    all.map(PathBuf::from).filter(|path| path.exists())
}

/// Notes how the machine is, unless that was noted before.
pub(super) fn note(state: &Path) -> Result<()> {
    let path = state.join(FILE);
    if path.exists() {
        return Ok(());
    }
    let before = Before::now()?;
    let text = serde_json::to_vec_pretty(&before).context("encode the state of the machine")?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// Whether podman may have run: how the machine was is noted before it does.
pub(super) fn is_noted(state: &Path) -> bool {
    state.join(FILE).exists()
}

/// Takes back what is left, where [`note`] was called. Containers and networks must be gone.
pub(super) fn restore(state: &Path) -> Result<()> {
    let path = state.join(FILE);
    if !path.exists() {
        return Ok(());
    }
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let before: Before = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    before.restore()
}

impl Before {
    fn now() -> Result<Self> {
        let settings = SETTINGS
            .iter()
            .filter_map(|name| {
                let value = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
                Some(((*name).to_owned(), value.trim().to_owned()))
            })
            .collect();
        let exists = |path: &PathBuf| path.exists();
        Ok(Self {
            settings,
            tables: tables()?,
            netavark: saved("iptables", "nat")?.contains(NETAVARK),
            cgroups: cgroups()?.into_iter().filter(exists).collect(),
            files: FILES.map(PathBuf::from).into_iter().filter(exists).collect(),
            folders: FOLDERS.map(PathBuf::from).into_iter().filter(exists).collect(),
        })
    }

    fn restore(&self) -> Result<()> {
        // What is shared belongs to whoever uses it meanwhile.
        if has_network(&saved("iptables", "nat")?) {
            eprintln!("another container network is in use, so what it shares with kind's stays");
            return Ok(());
        }
        if !self.netavark {
            self.remove_chains()?;
        }
        for (name, value) in &self.settings {
            let path = Path::new("/proc/sys").join(name);
            fs::write(&path, value).with_context(|| format!("write {}", path.display()))?;
        }
        for cgroup in cgroups()? {
            if !self.cgroups.contains(&cgroup) {
                remove_tree(&cgroup)?;
            }
        }
        for file in FILES.map(PathBuf::from) {
            if !self.files.contains(&file) && file.exists() {
                fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
            }
        }
        for folder in FOLDERS.map(PathBuf::from) {
            if !self.folders.contains(&folder) {
                remove_empty(&folder)?;
            }
        }
        Ok(())
    }

    fn remove_chains(&self) -> Result<()> {
        for (family, command) in FAMILIES {
            for table in TABLES {
                let Some(removal) = without_netavark(&saved(command, table)?) else {
                    continue;
                };
                restore_rules(command, &removal)?;
                let name = format!("table {family} {table}");
                if !self.tables.contains(&name) && has_no_rules(&saved(command, table)?) {
                    nft(&["delete", "table", family, table])?;
                }
            }
        }
        // Newer ones have a table of their own.
        let own = "table inet netavark";
        if !self.tables.iter().any(|table| table == own) && tables()?.iter().any(|table| table == own) {
            nft(&["delete", "table", "inet", "netavark"])?;
        }
        Ok(())
    }
}

/// netavark's chains in a table that `iptables-save` shows.
fn chains(saved: &str) -> Vec<&str> {
    saved
        .lines()
        .filter_map(|line| line.strip_prefix(':')?.split(' ').next())
        .filter(|chain| chain.starts_with(NETAVARK))
        .collect()
}

/// Whether one of netavark's networks is there, which has chains of its own.
fn has_network(saved: &str) -> bool {
    chains(saved).iter().any(|chain| !SHARED_CHAINS.contains(chain))
}

/// What takes netavark's chains out of a table that `iptables-save` shows, for `iptables-restore`; nothing where there
/// are none.
fn without_netavark(saved: &str) -> Option<String> {
    let table = saved.lines().find_map(|line| line.strip_prefix('*'))?;
    let chains = chains(saved);
    if chains.is_empty() {
        return None;
    }
    let rules = saved
        .lines()
        .filter_map(|line| line.strip_prefix("-A "))
        .filter(|rule| rule.contains(NETAVARK))
        .map(|rule| format!("-D {rule}\n"));
    let removed = chains.iter().map(|chain| format!("-X {chain}\n"));
    let body: String = rules.chain(removed).collect();
    Some(format!("*{table}\n{body}COMMIT\n"))
}

/// Whether a table that `iptables-save` shows has nothing but chains without rules.
fn has_no_rules(saved: &str) -> bool {
    !saved.lines().any(|line| line.starts_with("-A "))
}

fn saved(command: &str, table: &str) -> Result<String> {
    let program = format!("{command}-save");
    let output = Command::new(&program)
        .args(["--table", table])
        .output()
        .with_context(|| format!("run {program}"))?;
    // Without a table there is nothing to save, and some versions call that an error.
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn restore_rules(command: &str, rules: &str) -> Result<()> {
    let program = format!("{command}-restore");
    let mut child = Command::new(&program)
        .arg("--noflush")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {program}"))?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(rules.as_bytes())
            .with_context(|| format!("write to {program}"))?;
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} refused to remove netavark's chains: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn tables() -> Result<Vec<String>> {
    Ok(nft(&["list", "tables"])?.lines().map(str::to_owned).collect())
}

fn nft(arguments: &[&str]) -> Result<String> {
    let output = Command::new("nft").args(arguments).output().context("run nft")?;
    ensure!(
        output.status.success(),
        "nft {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where podman's cgroups would be: in every hierarchy of version 1, or in the one of version 2.
fn cgroups() -> Result<Vec<PathBuf>> {
    let root = Path::new(CGROUPS);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.join(CGROUP)]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).context("list the hierarchies of cgroups")? {
        let entry = entry.context("list the hierarchies of cgroups")?;
        // A link names a hierarchy twice.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path().join(CGROUP));
        }
    }
    Ok(found)
}

/// Removes a cgroup and all below it, unless somebody else's container has come into it. The files are the kernel's.
fn remove_tree(cgroup: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(cgroup) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", cgroup.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(()),
        result => result.with_context(|| format!("remove {}", cgroup.display())),
    }
}

/// Removes a folder that is empty, and the mount that it may be.
fn remove_empty(folder: &Path) -> Result<()> {
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if !is_empty {
        return Ok(());
    }
    if fs::remove_dir(folder).is_ok() {
        return Ok(());
    }
    let status = Command::new("umount")
        .arg(folder)
        .status()
        .context("run umount")?;
    ensure!(status.success(), "cannot unmount the empty {}", folder.display());
    fs::remove_dir(folder).with_context(|| format!("remove {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:NETAVARK-HOSTPORT-DNAT - [0:0]
:NETAVARK-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -s 10.0.0.1/32 -j ACCEPT
-A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
-A NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000
COMMIT
";

    #[test]
    fn netavarks_chains_go_and_others_rules_stay() {
        let removal = without_netavark(LEFT).unwrap();
        assert_eq!(
            removal,
            "*nat\n\
             -D PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT\n\
             -D NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000\n\
             -X NETAVARK-HOSTPORT-DNAT\n\
             -X NETAVARK-HOSTPORT-SETMARK\n\
             COMMIT\n"
        );
        assert!(!has_no_rules(LEFT));
        assert!(has_no_rules("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"));
    }

    #[test]
    fn a_network_that_is_there_is_known_by_its_chains() {
        assert!(!has_network(LEFT));
        let another = LEFT.replace(":PREROUTING", ":NETAVARK-62F930FC96F2B - [0:0]\n:PREROUTING");
        assert!(has_network(&another));
        assert_eq!(without_netavark("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"), None);
        assert_eq!(without_netavark(""), None);
    }
}
