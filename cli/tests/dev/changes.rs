//! What changes is taken in, and what is wrong is told while the last good version goes on.

use std::fs;
use std::process::Command;

use crate::dev::{Dev, eventually};
use crate::guests::{GUEST, Project, notes, obedient};
use crate::http::ask;

/// The page that the first address leads to.
fn page(dev: &Dev, file: &str) -> String {
    let first = dev.get("/");
    let entry = first.header("location").unwrap();
    dev.get(&entry.replace("index.html", file)).body
}

#[test]
fn a_changed_page_is_served_and_a_broken_manifest_leaves_the_last_good_version() {
    let project = Project::notes();
    let mut dev = Dev::start(project.path(), &[]);
    let former = dev.get("/").header("location").unwrap().to_owned();
    project.write("ui/style.css", b"body { color: teal }");
    eventually("the changed file is served", || page(&dev, "style.css").contains("teal").then_some(()));
    // The page that a browser still shows is loaded anew, and anything else of it is gone, as ever.
    let again = ask(dev.port, "GET", &former, &[("sec-fetch-mode", "navigate")], "");
    assert_eq!((again.status, again.header("location")), (307, dev.get("/").header("location")));
    assert_eq!(dev.get(&former).status, 404);

    let manifest = project.read("manifest.json");
    project.write("manifest.json", manifest.replace("\"storage.kv\"", "\"Storage KV\"").as_bytes());
    let said = dev.says("error: InvalidField: ");
    assert!(said.contains("/capabilities/0"), "{said}");
    dev.says("goes on answering");
    assert!(page(&dev, "style.css").contains("teal"));
    assert_eq!(dev.get("/api/ext/com.example.notes/notes").status, 200);

    project.write("manifest.json", manifest.replace("\"ui/index.html\"", "\"ui/gone.html\"").as_bytes());
    dev.says("EntryMissing: ");
    project.write("manifest.json", manifest.replace("\"version\": \"", "\"version\": \"7").as_bytes());
    dev.says("answers now");
    assert_eq!(dev.get("/api/ext/com.example.notes/notes").status, 200);
}

#[test]
fn a_changed_guest_is_built_and_answers_anew() {
    let project = Project::empty();
    let mut init = Command::new(env!("CARGO_BIN_EXE_kubectl-annex"));
    assert!(
        init.args(["init", "own", "--name", GUEST]).current_dir(project.path()).status().unwrap().success()
    );
    let mut dev = Dev::start(&project.at("own"), &[]);
    let hello = |dev: &Dev| dev.guest("/hello/you").body;
    assert!(!hello(&dev).contains("Good evening"), "{}", hello(&dev));

    let source = project.read("own/guest/src/answer.rs");
    assert!(source.contains("Hello"), "the template is another one: {source}");
    project.write("own/guest/src/answer.rs", source.replace("Hello", "Good evening").as_bytes());
    eventually("the changed guest answers", || hello(&dev).contains("Good evening").then_some(()));

    project.write("own/guest/src/answer.rs", b"this is no Rust");
    dev.says("does not build");
    assert!(hello(&dev).contains("Good evening"), "the last good one goes on");
    project.write("own/guest/src/answer.rs", source.as_bytes());
    eventually("it is as it was", || (!hello(&dev).contains("Good evening")).then_some(()));
}

#[test]
fn a_command_of_the_authors_builds_and_does_not_start_itself_over_and_over() {
    let project = Project::obedient();
    fs::remove_file(project.at("main.wasm")).unwrap();
    project.write("src/guest.wasm", obedient());
    // It leaves the component, and writes among the sources another thing each time.
    let build = "echo built by hand; date +%N >> src/stamp; cp src/guest.wasm main.wasm";
    let mut dev = Dev::start(project.path(), &["--build", build]);
    assert_eq!(dev.guest("/hello").body, "hello");
    dev.says("built by hand");
    dev.says("src/stamp, which starts no other one");

    project.write("src/guest.wasm", notes());
    // The notes' guest has no /hello.
    eventually("the other guest answers", || (dev.guest("/hello").body != "hello").then_some(()));
    project.write("src/guest.wasm", b"no component");
    dev.says("error: NotAComponent: ");
    // At the start three times, until it is known what writes; then once for each change.
    let builds = dev.said().matches("builds: echo").count();
    assert_eq!(builds, 5, "{}", dev.said());
}

#[test]
fn what_is_wrong_from_the_beginning_is_told_and_waited_for() {
    let project = Project::obedient();
    let manifest = project.read("manifest.json");
    project.write("manifest.json", b"{");
    let mut dev = Dev::begin(project.path(), &["--parameter", "colour=green"]);
    dev.says("nothing answers yet");
    project.write("manifest.json", manifest.as_bytes());
    dev.says("the version's schema: /colour ");
    let other = manifest.replace("\"red\"", "\"green\"");
    assert_ne!(manifest, other);
    project.write("manifest.json", other.as_bytes());
    dev.says("Ctrl-C ends it.");
}
