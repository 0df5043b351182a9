//! What a cluster leaves on the machine besides its recorded processes: pods, mounts, control groups, links.
//!
//! Found by what is ours alone (the network namespace and the folders carry the environment's own name, and one of the
//! folders lists the containers), so that a run that crashed can be cleaned up after, and nobody else's is touched.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use super::component::Folders;
use super::network;
use crate::process::is_alive;

/// How long the kernel may take to end what was killed.
const KILLED: Duration = Duration::from_secs(20);
/// What the runtime keeps in folders of the machine's, whatever it is told: its sockets, and a folder for each container.
const SHIM_SOCKETS: &str = "/run/containerd/s";
const RUNC: &str = "/run/containerd/runc/k8s.io";
/// The control group of a container is in a group of this name.
const GROUP: &str = "k8s.io";

/// Ends and removes everything that still is there.
pub(super) fn remove(folders: &Folders, name: &str) -> Result<()> {
    let (containers, sockets) = (containers(folders), shim_sockets(folders));
    kill(folders, name, &containers)?;
    unmount_below(&[folders.runtime.clone(), folders.compute.clone()])?;
    for socket in sockets {
        drop(fs::remove_file(socket));
    }
    for container in &containers {
        drop(fs::remove_dir_all(Path::new(RUNC).join(container)));
    }
    groups(&containers).iter().try_for_each(|group| remove_group(group))?;
    let shared = [SHIM_SOCKETS, RUNC, "/run/containerd/runc", "/run/containerd"].map(PathBuf::from);
    for folder in shared.into_iter().chain(hierarchies().map(|hierarchy| hierarchy.join(GROUP))) {
        // Fails when somebody else has something in it, which then stays.
        drop(fs::remove_dir(folder));
    }
    network::remove(name)?;
    remove_log_links(&folders.logs);
    remove_network_records(&folders.runtime);
    if folders.runtime.exists() {
        fs::remove_dir_all(&folders.runtime)
            .with_context(|| format!("cannot remove {}", folders.runtime.display()))?;
    }
    // The pods that had these are gone.
    let addresses = folders.compute.join("pod-addresses");
    if addresses.exists() {
        fs::remove_dir_all(&addresses).with_context(|| format!("cannot remove {}", addresses.display()))?;
    }
    Ok(())
}

/// Whether there is anything for [`remove`] to do.
pub(super) fn exist(folders: &Folders, name: &str) -> bool {
    folders.runtime.exists()
        || network::namespace(name).exists()
        || Path::new("/sys/class/net").join(name).exists()
}

/// Ends every process in the cluster's network, those of its containers, and the runtime's own.
fn kill(folders: &Folders, name: &str, containers: &[String]) -> Result<()> {
    let deadline = Instant::now() + KILLED;
    loop {
        let processes = processes(folders, name, containers);
        if processes.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes of the compute cluster do not end even when killed: {processes:?}");
        }
        for pid in processes.into_iter().filter_map(Pid::from_raw) {
            // It may have ended in between; the next round tells.
            let _ = kill_process(pid, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn processes(folders: &Folders, name: &str, containers: &[String]) -> Vec<i32> {
    let network = fs::metadata(network::namespace(name)).ok();
    let socket = folders.socket();
    let inside = |pid: i32| {
        network.as_ref().is_some_and(|network| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|own| (own.dev(), own.ino()) == (network.dev(), network.ino()))
        })
    };
    // The runtime's own processes outlive containerd; they know it by its socket.
    let serves = |pid: i32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            line.split(|byte| *byte == 0).any(|arg| arg == socket.as_os_str().as_encoded_bytes())
        })
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<i32> = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| inside(*pid) || serves(*pid))
        .collect();
    found.extend(groups(containers).iter().flat_map(|group| members(group)));
    found.sort_unstable();
    found.dedup();
    found.retain(|pid| is_alive(*pid));
    found
}

/// The containers that the runtime has, running or not.
fn containers(folders: &Folders) -> Vec<String> {
    let tasks = fs::read_dir(tasks(folders)).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().into_string().ok()).collect()
}

fn tasks(folders: &Folders) -> PathBuf {
    folders.runtime.join("containerd/io.containerd.runtime.v2.task/k8s.io")
}

/// The folders of the hierarchies of control groups of version 1, and the one of version 2.
fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let entries = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.chain([root.to_path_buf()])
}

/// The containers' control groups, in every hierarchy.
fn groups(containers: &[String]) -> Vec<PathBuf> {
    let group = |hierarchy: PathBuf| {
        containers
            .iter()
            .map(move |container| hierarchy.join(GROUP).join(container))
            .filter(|path| path.is_dir())
    };
    hierarchies().flat_map(group).collect()
}

fn members(group: &Path) -> Vec<i32> {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = listed.lines().filter_map(|line| line.parse().ok());
    own.chain(subgroups(group).iter().flat_map(|inner| members(inner))).collect()
}

fn subgroups(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn remove_group(group: &Path) -> Result<()> {
    for inner in subgroups(group) {
        remove_group(&inner)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the control group {}", group.display()))
        }
        _ => Ok(()),
    }
}

fn unmount_below(folders: &[PathBuf]) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the table of mounts")?;
    // The table has paths without symbolic links.
    let folders: Vec<PathBuf> = folders.iter().filter_map(|folder| fs::canonicalize(folder).ok()).collect();
    for target in mounts_below(&table, &folders) {
        // Detached where something still uses it: what does was killed and is about to be gone.
        unmount(&target, UnmountFlags::DETACH)
            .with_context(|| format!("cannot unmount {}", target.display()))?;
    }
    Ok(())
}

/// The mounts below these folders, inner ones first.
fn mounts_below(table: &str, folders: &[PathBuf]) -> Vec<PathBuf> {
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut found: Vec<PathBuf> =
        targets.filter(|target| folders.iter().any(|folder| target.starts_with(folder))).collect();
    // Later mounts cover earlier ones.
    found.reverse();
    found.sort_by_key(|target| std::cmp::Reverse(target.components().count()));
    found
}

/// The kernel writes blanks and the like as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}

/// The runtime keeps the address of each container's socket beside the container.
fn shim_sockets(folders: &Folders) -> Vec<PathBuf> {
    let tasks = fs::read_dir(tasks(folders)).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("address")).ok())
        .filter_map(|address| address.trim().strip_prefix("unix://").map(PathBuf::from))
        .filter(|path| path.starts_with(SHIM_SOCKETS))
        .collect()
}

/// The kubelet links each container's log from a folder of the machine's.
fn remove_log_links(logs: &Path) {
    let folder = Path::new("/var/log/containers");
    let ours = |file: &str| fs::read_link(folder.join(file)).is_ok_and(|target| target.starts_with(logs));
    remove_matching(folder, ours);
}

/// The runtime notes what each pod's network was given in a folder of the machine's; a note names the pod's namespace, which is
/// in a folder of ours.
fn remove_network_records(runtime: &Path) {
    let folder = Path::new("/var/lib/cni/results");
    let inside = format!("\"{}/", runtime.display());
    remove_matching(folder, |file| {
        fs::read_to_string(folder.join(file)).is_ok_and(|note| note.contains(&inside))
    });
}

fn remove_matching(folder: &Path, chosen: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&chosen) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;

    #[test]
    fn finds_mounts_inner_ones_first() {
        let table = "\
1 0 0:1 / / rw - ext4 /dev/vda rw
2 1 0:2 / /state/compute/a rw - tmpfs tmpfs rw
3 2 0:3 / /state/compute/a/b\\040c rw - tmpfs tmpfs rw
4 1 0:4 / /state/computer rw - tmpfs tmpfs rw
5 1 0:5 / /run/annex-1/x rw - nsfs nsfs rw
";
        let found = mounts_below(table, &["/state/compute".into(), "/run/annex-1".into()]);
        assert_eq!(found.first().unwrap(), Path::new("/state/compute/a/b c"));
        assert_eq!(found.len(), 3);
        assert!(!found.contains(&PathBuf::from("/state/computer")));
    }

    #[test]
    fn a_name_that_nobody_has_leaves_nothing() {
        let folders = Folders::new(&Paths::new(Path::new("/does/not/exist")), "annex-nobody");
        assert!(!exist(&folders, "annex-nobody"));
        assert!(processes(&folders, "annex-nobody", &[]).is_empty());
    }
}
