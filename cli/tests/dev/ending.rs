//! How it ends, and what it does not begin.

use std::fs;

use crate::dev::{Dev, command, eventually};
use crate::guests::Project;

/// The processes that this one has started and that still run.
fn children(of: u32) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let parent =
        |stat: &String| stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
    stats.filter(|stat| parent(stat) == Some(of)).collect()
}

fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn it_ends_when_it_is_asked_and_so_does_all_that_it_has_started() {
    let project = Project::obedient();
    // A build that does not end, in a process of a process.
    let build = "sleep 600 & echo $! > pid.new; mv pid.new pid; wait";
    let dev = Dev::begin(project.path(), &["--build", build]);
    let sleeping = eventually("the build runs", || fs::read_to_string(project.at("pid")).ok());
    let sleeping: u32 = sleeping.trim().parse().unwrap();
    assert!(runs(sleeping) && !children(dev.id()).is_empty());
    let id = dev.id();
    let (status, said) = dev.interrupt();
    assert_eq!(status.code(), Some(0), "{said}");
    eventually("what it started has ended", || (!runs(sleeping)).then_some(()));
    assert_eq!(children(id), Vec::<String>::new());
}

#[test]
fn a_call_under_way_does_not_keep_it() {
    let project = Project::obedient();
    let dev = Dev::start(project.path(), &[]);
    let port = dev.port;
    assert_eq!(dev.guest("/hello").body, "hello");
    let call = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let path = format!("/api/ext/{}/sleep", crate::guests::GUEST);
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Answered or broken off: it ends.
        let _ = stream.read_to_end(&mut answer);
    });
    eventually("the call is under way", || {
        let tcp = fs::read_to_string("/proc/net/tcp").unwrap();
        // Established, at our port.
        tcp.lines()
            .any(|line| line.contains(&format!("0100007F:{port:04X} ")) && line.contains(" 01 "))
            .then_some(())
    });
    let (status, _) = dev.interrupt();
    assert_eq!(status.code(), Some(0));
    call.join().unwrap();
}

fn refused(project: &Project, more: &[&str]) -> (i32, String) {
    let output = command(project.path(), more).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_be_is_said_at_once() {
    let project = Project::obedient();
    let dev = Dev::start(project.path(), &[]);
    let (code, said) = refused(&project, &[]);
    assert!(code == 3 && said.contains("is used by another kubectl annex dev"), "{said}");
    let other = Project::obedient();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-annex"))
        .arg("dev")
        .arg(other.path())
        .args(["--port", &dev.port.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && said.contains("--port"), "{said}");
    for (more, code, says) in [
        (&["--secret", "smtp=f"][..], 2, "NAME/KEY=FILE"),
        (&["--secret", "smtp/password=/nonexistent"], 3, "/nonexistent"),
        (&["--parameter", "colour"], 2, "NAME=VALUE"),
        (&["--config", "/nonexistent"], 3, "/nonexistent"),
        (&["--allow-egress", "http://"], 2, "--allow-egress"),
        (&["--state", &other.at("ui/state").display().to_string()], 2, "in ui/"),
    ] {
        let (found, said) = refused(&other, more);
        assert!(found == code && said.contains(says), "{more:?}: {found}, {said}");
    }
    let empty = Project::empty();
    let (code, said) = refused(&empty, &[]);
    assert!(code == 2 && said.contains("has no code"), "{said}");
}
