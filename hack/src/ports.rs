//! Who listens on a port.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::settings::{PortUse, is_free};

/// A process that listens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) command: String,
}

/// Stops with the process's name when a port is not free.
pub(crate) fn require_free(ports: &[PortUse]) -> Result<()> {
    const CLOSING: Duration = Duration::from_secs(3);
    let started = Instant::now();
    // A socket of nobody's is most often one that the system is about to close, after its process has ended.
    let closing = |port: &PortUse| !is_free(port.number) && owners(port.number).is_empty();
    while started.elapsed() < CLOSING && ports.iter().any(closing) {
        thread::sleep(Duration::from_millis(100));
    }
    let mut problems = String::new();
    for port in ports.iter().filter(|port| !is_free(port.number)) {
        let by = match owners(port.number).as_slice() {
            [] if cfg!(target_os = "linux") => "by a process of another user".to_owned(),
            [] => format!("(`lsof -i :{}` says by whom)", port.number),
            owners => owners
                .iter()
                .map(|owner| format!("by process {} ({})", owner.pid, owner.command))
                .collect::<Vec<_>>()
                .join(" and "),
        };
        // Writing to a string cannot fail.
        let _ = write!(problems, "\n  port {}, for {}, is taken {by}", port.number, port.purpose);
        let _ = write!(problems, "\n    end that process, or choose another port with {}", port.option);
    }
    if problems.is_empty() { Ok(()) } else { bail!("a port is not free:{problems}") }
}

/// The processes that listen there, as far as this user may know.
pub(crate) fn owners(port: u16) -> Vec<Owner> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return Vec::new();
    }
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut owners: Vec<Owner> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| has_open(*pid, &sockets))
        .map(|pid| Owner { pid, command: command_line(pid) })
        .collect();
    owners.sort_by_key(|owner| owner.pid);
    owners
}

/// The inodes of the sockets that listen on `port`, from the text of `/proc/net/tcp` or `tcp6`.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    /// TCP_LISTEN, as the kernel prints it.
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (_, local_port) = fields.nth(1)?.rsplit_once(':')?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?.parse().ok()?;
            (u16::from_str_radix(local_port, 16).ok()? == port && state == LISTEN).then_some(inode)
        })
        .collect()
}

fn has_open(pid: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target)))
}

fn command_line(pid: u32) -> String {
    /// Enough to recognise a program; some command lines are pages.
    const SHOWN: usize = 120;
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&raw).replace('\0', " ");
    line.trim_end().chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000 20 4 30 10 -1
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000 100 0 0 10 0
";

    #[test]
    fn reads_the_kernels_table() {
        assert_eq!(listening_inodes(TABLE, 8080), [4711]);
        assert_eq!(listening_inodes(TABLE, 8081), [4713]);
        assert_eq!(listening_inodes(TABLE, 80), [0_u64; 0]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn names_the_process_that_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        assert!(owners(number).iter().any(|owner| owner.pid == std::process::id()));
        let used = PortUse { number, purpose: "the test", option: "--test-port" };
        let message = require_free(&[used]).unwrap_err().to_string();
        assert!(
            message.contains(&std::process::id().to_string()) && message.contains("--test-port"),
            "{message}"
        );
        drop(listener);
        require_free(&[used]).unwrap();
    }
}
