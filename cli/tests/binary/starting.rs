//! `init` and `bundle`.

use std::fs;
use std::path::Path;

use crate::support::{Ended, Publisher, command, end};

#[tokio::test]
async fn init_takes_a_new_or_empty_folder_and_no_other() {
    let publisher = Publisher::new().await;
    for path in
        ["manifest.json", "guest/src/lib.rs", "guest/rust-toolchain.toml", "ui/index.html", ".gitignore"]
    {
        assert!(publisher.path("notes").join(path).is_file(), "{path}");
    }
    let before = publisher.read("notes/manifest.json");
    publisher.run(&["init", "notes", "--publisher", "other.example"]).await.refused(2, "notes is not empty");
    publisher.run(&["init", "done.wasm"]).await.refused(2, "done.wasm is a file");
    assert_eq!(publisher.read("notes/manifest.json"), before);

    fs::create_dir(publisher.path("empty")).unwrap();
    let said = publisher.run(&["init", "empty", "--name", "org.other.stuff"]).await.done();
    assert!(said.starts_with("made org.other.stuff in empty"), "{said}");
    publisher.run(&["init", "-"]).await.refused(2, "--name");
    assert!(!publisher.path("-").exists());
}

#[tokio::test]
async fn the_same_files_give_the_same_archive() {
    let publisher = Publisher::new().await;
    publisher.bundle("one.tar.zst").await.done();
    let said = publisher.bundle("two.tar.zst").await.done();
    assert!(said.starts_with("packed com.example.notes 0.1.0 of example.com: 5 files, "), "{said}");
    assert_eq!(publisher.read("one.tar.zst"), publisher.read("two.tar.zst"));

    // Somewhere else, at another time, with other permissions, and with what no bundle has.
    let copy = publisher.path("elsewhere");
    for file in ["manifest.json", "ui/style.css", "ui/app.js", "ui/index.html"] {
        let to = copy.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, publisher.read(&format!("notes/{file}"))).unwrap();
    }
    fs::write(copy.join("notes.txt"), "mine").unwrap();
    fs::copy(publisher.path("done.wasm"), copy.join("main.wasm")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(copy.join("ui/app.js"), fs::Permissions::from_mode(0o700)).unwrap();
    }
    publisher.run(&["bundle", "elsewhere", "-o", "three.tar.zst"]).await.done();
    assert_eq!(publisher.read("one.tar.zst"), publisher.read("three.tar.zst"));

    fs::write(copy.join("ui/app.js"), "other").unwrap();
    publisher.run(&["bundle", "elsewhere", "-o", "three.tar.zst"]).await.done();
    assert_ne!(publisher.read("one.tar.zst"), publisher.read("three.tar.zst"));
}

#[tokio::test]
async fn what_is_no_bundle_is_refused_and_leaves_no_file() {
    let publisher = Publisher::new().await;
    publisher.write("module.wasm", b"\0asm\x01\0\0\0");
    let manifest = String::from_utf8(publisher.read("notes/manifest.json")).unwrap();
    let bundle = |component: &'static str| {
        let publisher = &publisher;
        async move { publisher.run(&["bundle", "notes", "--component", component, "-o", "x.tar.zst"]).await }
    };
    bundle("module.wasm").await.refused(1, "NotAComponent: main.wasm is a core module");
    bundle("gone.wasm").await.refused(3, "reading gone.wasm failed");
    publisher.write("notes/manifest.json", manifest.replace("\"0.1.0\"", "\"latest\"").as_bytes());
    bundle("done.wasm").await.refused(1, "InvalidField: notes/manifest.json: /version");
    publisher.write("notes/manifest.json", manifest.replace("ui/index.html", "ui/main.html").as_bytes());
    bundle("done.wasm").await.refused(1, "EntryMissing: /ui/entry of the manifest is ui/main.html");
    fs::remove_file(publisher.path("notes/manifest.json")).unwrap();
    bundle("done.wasm").await.refused(3, "reading notes/manifest.json failed");
    publisher.write("notes/manifest.json", manifest.as_bytes());
    publisher
        .run(&["bundle", "notes", "--component", "done.wasm", "-o", "notes/ui/x"])
        .await
        .refused(2, "in ui/");
    publisher
        .run(&["bundle", "notes", "--component", "done.wasm", "-o", "notes"])
        .await
        .refused(2, "is a folder");
    publisher.write("notes/main.wasm", b"");
    publisher.run(&["bundle", "notes", "-o", "x.tar.zst"]).await.refused(2, "both main.wasm and guest/");
    let left: Vec<_> =
        fs::read_dir(publisher.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

/// Builds a project's guest with this machine's cargo.
async fn build(folder: &Path, project: &str, archive: &str) -> Ended {
    end(command(folder).args(["bundle", project, "-o", archive])).await
}

/// The project names its target, and rustup installs that together with the toolchain. Where the toolchain was there before, `bundle` says
/// what to do, and this does it.
async fn install_target(guest: &Path) {
    let mut rustup = tokio::process::Command::new("rustup");
    rustup.args(["target", "add", "wasm32-wasip2"]).current_dir(guest).env_remove("RUSTUP_TOOLCHAIN");
    // Without rustup the target has to be there.
    if let Ok(output) = rustup.output().await {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn a_new_project_builds_as_it_is_wherever_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    end(command(at).args(["init", "notes"])).await.done();
    // Inside another cargo workspace, and at a path of another length.
    fs::create_dir_all(at.join("other place")).unwrap();
    fs::write(at.join("other place/Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
    end(command(&at.join("other place")).args(["init", "notes"])).await.done();
    install_target(&at.join("notes/guest")).await;

    build(at, "notes", "one.tar.zst").await.done();
    build(at, "other place/notes", "two.tar.zst").await.done();
    let one = fs::read(at.join("one.tar.zst")).unwrap();
    assert_eq!(one, fs::read(at.join("two.tar.zst")).unwrap(), "the place is in the component");

    let mut files = annex_bundle::Memory::default();
    annex_bundle::unpack(one.as_slice(), &annex_bundle::Limits::default(), &mut files).unwrap();
    let files = files.into_files();
    let component = files.iter().find(|(path, _)| path.as_str() == "main.wasm").unwrap().1;
    let has = |text: &str| component.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("wasi:http/incoming-handler@0.2."), "it answers HTTP");
    assert!(!has("wasi:http/outgoing-handler"), "it asks for nothing that it does not use");
    assert!(component.len() < 300 << 10, "{}", component.len());

    // What does not compile is said by the compiler.
    fs::write(at.join("notes/guest/src/answer.rs"), "pub fn answer() { missing() }").unwrap();
    let ended = build(at, "notes", "three.tar.zst").await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("the guest in notes/guest does not build"), "{}", ended.stderr);
    assert!(ended.stderr.contains("missing"), "{}", ended.stderr);
    assert!(!at.join("three.tar.zst").exists());
}

#[tokio::test]
async fn a_missing_cargo_is_said_to_be_missing() {
    let publisher = Publisher::new().await;
    let mut bundle = command(publisher.folder.path());
    bundle.args(["bundle", "notes", "-o", "x.tar.zst"]).env("PATH", publisher.folder.path());
    end(&mut bundle).await.refused(3, "is not on the PATH; install Rust with rustup");
}

#[cfg(unix)]
#[tokio::test]
async fn a_missing_target_is_said_to_be_missing() {
    use std::os::unix::fs::PermissionsExt as _;
    let publisher = Publisher::new().await;
    let bin = publisher.path("bin");
    fs::create_dir(&bin).unwrap();
    let rustc = bin.join("rustc");
    fs::write(&rustc, "#!/bin/sh\necho /nonexistent/lib\n").unwrap();
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
    let mut bundle = command(publisher.folder.path());
    bundle.args(["bundle", "notes", "-o", "x.tar.zst"]).env("PATH", &bin);
    end(&mut bundle).await.refused(3, "(cd notes/guest && rustup target add wasm32-wasip2)");
}
