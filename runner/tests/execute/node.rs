//! Guests in JavaScript, made as `samples/hello-js` makes its own, with the packages of its lock file.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{LazyLock, OnceLock},
};

use tokio::sync::{Mutex, MutexGuard};

use crate::guests;

/// The sample.
pub fn hello() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| build("hello", None))
}

/// The guide's examples: the sample's folder, with another guest.
pub fn capabilities() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| build("capabilities", Some(&samples().join("capabilities/js"))))
}

fn samples() -> PathBuf {
    guests::root().join("samples")
}

/// Whoever has it may have a guest in JavaScript loaded. Two at one time would each take twice as long, and on a small machine longer than
/// the engine gives a compiler.
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Nothing is built in the sample's own folder: what is there is what a person has.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("javascript").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What the lock file names, installed once and kept for the next run.
fn packages() -> &'static Path {
    static PACKAGES: LazyLock<PathBuf> = LazyLock::new(|| {
        let (sample, folder) = (samples().join("hello-js"), scratch("packages"));
        let lock = fs::read(sample.join("package-lock.json")).unwrap();
        let installed = folder.join("installed.json");
        if fs::read(&installed).is_ok_and(|there| there == lock) {
            return folder;
        }
        let _ = fs::remove_file(&installed);
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            fs::copy(sample.join(file), folder.join(file)).unwrap();
        }
        run(&folder, "npm", ["ci"]);
        fs::write(installed, lock).unwrap();
        folder
    });
    &PACKAGES
}

fn build(name: &str, instead: Option<&Path>) -> Vec<u8> {
    let (packages, folder) = (packages(), scratch(name));
    fs::remove_dir_all(&folder).unwrap();
    copy(&samples().join("hello-js"), &folder);
    if let Some(instead) = instead {
        copy(instead, &folder);
    }
    std::os::unix::fs::symlink(packages.join("node_modules"), folder.join("node_modules")).unwrap();
    run(&folder, "npm", ["run", "build"]);
    fs::read(folder.join("main.wasm")).unwrap()
}

/// Copies what is checked in, and not what somebody has built there.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && !["node_modules", "build"].map(OsStr::new).contains(&&*name) {
            copy(&path, &to.join(name));
        } else if path.is_file() && name != "main.wasm" {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn run<const N: usize>(folder: &Path, program: &str, arguments: [&str; N]) {
    let output = Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            panic!(
                "{program} is not in PATH, and guests in JavaScript are made with it: install Node.js 20 or later with npm. \
                 On Debian as root, `cargo xtask test` does (packages nodejs and npm)"
            )
        }
        output => output.unwrap(),
    };
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "`{program} {}` in {}:\n{said}", arguments.join(" "), folder.display());
}
