//! What the machine itself has to have, before a cluster can run on it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::command::{finish, run};
use crate::progress::{note, step};

/// Programs that nothing pinned brings along, with the package of Debian and Ubuntu that does.
const PROGRAMS: [(&str, &str); 10] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("musl-gcc", "musl-tools"),
    ("ldd", "libc-bin"),
    ("pip3", "python3-pip"),
];
const PLUGINS: &str = "containernetworking-plugins";
/// Where distributions put the plugins for the pods' network.
const PLUGIN_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// Why no cluster can be started here; None: one can.
pub(crate) fn objection() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("Linux".to_owned());
    }
    if env::consts::ARCH != "x86_64" {
        return Some("a processor of type x86_64".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("root, for network namespaces and containers".to_owned());
    }
    let missing = missing();
    if missing.is_empty() || is_debian() {
        return None;
    }
    Some(format!(
        "the packages {}, which only Debian's and Ubuntu's apt would install by itself",
        missing.join(", ")
    ))
}

/// Installs the packages that are missing.
pub(crate) fn install() -> Result<()> {
    install_packages(&missing())
}

/// Wrong clocks for single processes: the tests on a cluster use them.
pub(crate) const CLOCKS: &[(&str, &str)] = &[("faketime", "faketime")];
/// The database server that tests start for themselves. Debian's `postgres` is not in PATH; what starts it is.
pub(crate) const DATABASE: &[(&str, &str)] = &[("pg_ctlcluster", "postgresql")];
/// What guests in JavaScript are made with.
pub(crate) const NODE: &[(&str, &str)] = &[("node", "nodejs"), ("npm", "npm")];
/// What tests look at pages with.
pub(crate) const BROWSER: &[(&str, &str)] = &[("chromium", "chromium"), ("chromedriver", "chromium-driver")];

/// What a bench measures ours beside. Never in a test.
pub(crate) const PEERS: &[(&str, &str)] = &[("nginx", "nginx")];

/// Installs what only tests and benches use, by program and package, where it can. Elsewhere the tests say what they lack.
pub(crate) fn install_for_tests(programs: &[(&str, &'static str)]) -> Result<()> {
    if !is_debian() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    install_packages(&packages_of_missing(programs))
}

fn install_packages(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    note(&format!("apt-get installs {}", missing.join(" ")));
    step("install packages of the system's", || {
        run("apt-get", &["update", "--quiet"])?;
        let mut command = std::process::Command::new("apt-get");
        command
            .args(["install", "--quiet", "--yes", "--no-install-recommends"])
            .args(missing)
            .env("DEBIAN_FRONTEND", "noninteractive");
        finish(&mut command, "apt-get install").map(drop)
    })
}

/// Where a program is, by the path that root has.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    find(name).with_context(|| format!("there is no {name} in PATH"))
}

/// The folder of the plugins for the pods' network.
pub(super) fn plugin_folder() -> Result<&'static Path> {
    plugins().context("there are no plugins for the pods' network in /usr/lib/cni or /opt/cni/bin")
}

fn plugins() -> Option<&'static Path> {
    let whole = |folder: &&Path| {
        ["ptp", "host-local", "portmap", "loopback"].iter().all(|name| folder.join(name).is_file())
    };
    PLUGIN_FOLDERS.iter().map(Path::new).find(whole)
}

fn missing() -> Vec<&'static str> {
    let mut packages = packages_of_missing(&PROGRAMS);
    if plugins().is_none() {
        packages.push(PLUGINS);
    }
    packages.dedup();
    packages
}

fn packages_of_missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    programs.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect()
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // A person's own PATH often lacks these two.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| names_debian(&text)) && find("apt-get").is_some()
}

fn names_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split(' '))
        .any(|id| id == "debian" || id == "ubuntu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_debian_and_its_relatives() {
        assert!(names_debian("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(names_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!names_debian("ID=fedora\nNAME=debian\n"));
    }
}
