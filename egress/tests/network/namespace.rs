//! A network namespace for a test.

use std::fs;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// What looks public. Nobody else has these addresses in here, and no route leads out of here.
pub const PUBLIC: &str = "45.33.10.1";
pub const OTHER_PUBLIC: &str = "45.33.10.2";
pub const PUBLIC_V6: &str = "2604:1380:45::1";
pub const PRIVATE: &str = "10.20.30.40";
pub const METADATA: &str = "169.254.169.254";
pub const METADATA_V6: &str = "fd00:ec2::254";
/// What is sent there vanishes, as behind a firewall that drops.
pub const SILENT: &str = "45.33.20.9";

const SETUP: &[&str] = &[
    "link set lo up",
    "addr add 45.33.10.1/32 dev lo",
    "addr add 45.33.10.2/32 dev lo",
    "addr add 10.20.30.40/32 dev lo",
    "addr add 169.254.169.254/32 dev lo",
    "-6 addr add 2604:1380:45::1/128 dev lo nodad",
    "-6 addr add fd00:ec2::254/128 dev lo nodad",
    // A neighbour that is not there, behind a cable that ends in here.
    "link add far type veth peer name near",
    "addr add 45.33.20.1/24 dev near",
    "link set far up",
    "link set near up",
    "neigh add 45.33.20.9 lladdr 02:00:00:00:00:09 dev near",
];

/// Runs a test in a network namespace of its own. The namespace has no name: it belongs to a thread, and the kernel ends it, with
/// everything in it, when the thread and its sockets are gone, however the test ends.
pub fn inside<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    run(CloneFlags::CLONE_NEWNET, || (), test);
}

/// The same, where `/etc/resolv.conf` has this text. For everybody else it stays as it is.
pub fn inside_with_resolv_conf<F: Future<Output = ()>>(
    text: &'static str,
    test: impl FnOnce() -> F + Send + 'static,
) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let mount = move || {
        command("mount", &["--make-rprivate", "/"]);
        command("mount", &["--bind", &path, "/etc/resolv.conf"]);
    };
    run(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS, mount, test);
}

fn run<F: Future<Output = ()>>(
    flags: CloneFlags,
    prepare: impl FnOnce() + Send + 'static,
    test: impl FnOnce() -> F + Send + 'static,
) {
    let thread = thread::spawn(move || {
        if let Err(error) = unshare(flags) {
            panic!(
                "a network namespace cannot be made ({error}): run as root, or with `unshare --map-root-user`"
            );
        }
        prepare();
        for arguments in SETUP {
            command("ip", &arguments.split(' ').collect::<Vec<_>>());
        }
        // All on this thread and on those that it makes, which are in here, too.
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    });
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// A child is where its thread is.
fn command(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "`{program} {}` failed", arguments.join(" "));
}
