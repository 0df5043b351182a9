//! What is kept on the disk, how much of it, and what of it is believed after a restart.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::{
    support::{Runner, eventually},
    world::{HELLO, HOST, PAGE, World, ask, end, get, page},
};

/// What each of [`many`] has besides its manifest.
const SIZE: usize = 100_000;

/// Extensions `a`, `b` and so on, each on a host of its own, of which each has a file of [`SIZE`] bytes. Their hashes.
fn many<const N: usize>(world: &World, names: [&str; N]) -> [String; N] {
    names.map(|name| {
        let extension = format!("com.example.{name}");
        let page = name.as_bytes().repeat(SIZE);
        let hash = world.publish(&extension, "ui/index.html", &[("ui/index.html", page)]);
        world.install(&host(name), &extension, &hash);
        hash
    })
}

fn host(name: &str) -> String {
    format!("acme--{name}.apps.localhost")
}

/// The status, after checking that a page is the one that it has to be.
async fn visit(runner: &Runner, name: &str, hash: &str) -> u16 {
    let path = format!("/ext-ui/com.example.{name}/{hash}/index.html");
    let answer = ask(runner, "GET", &path, &host(name), &[]).await;
    assert_eq!(
        answer.status == 200,
        answer.bytes == name.as_bytes().repeat(SIZE),
        "{name}: {}",
        answer.status
    );
    answer.status
}

/// The bundles on the disk, and what of it they take.
fn kept(world: &World) -> (Vec<String>, u64) {
    let mut names = Vec::new();
    let mut bytes = 0;
    for bundle in fs::read_dir(world.at("cache/sha256")).unwrap() {
        let bundle = bundle.unwrap();
        names.push(format!("sha256:{}", bundle.file_name().into_string().unwrap()));
        bytes += taken(&bundle.path());
    }
    names.sort();
    (names, bytes)
}

/// As `du` counts.
fn taken(path: &Path) -> u64 {
    let metadata = fs::symlink_metadata(path).unwrap();
    let below = if metadata.is_dir() {
        fs::read_dir(path).unwrap().map(|entry| taken(&entry.unwrap().path())).sum()
    } else {
        0
    };
    metadata.blocks() * 512 + below
}

fn sorted(hashes: &[&String]) -> Vec<String> {
    let mut hashes: Vec<_> = hashes.iter().map(|hash| (*hash).clone()).collect();
    hashes.sort();
    hashes
}

async fn measured(runner: &Runner, metric: &str) -> u64 {
    let metrics = runner.internal("/metrics").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{metric} ")));
    line.unwrap_or_else(|| panic!("no {metric}: {metrics}")).parse().unwrap()
}

#[tokio::test]
async fn the_cache_has_a_bound_and_what_was_not_asked_for_the_longest_goes() {
    let world = World::new().await;
    let [a, b, c] = many(&world, ["a", "b", "c"]);
    let most = SIZE as u64 * 7 / 2;
    let runner = world.runner(&["--cache-max-bytes", &most.to_string()]).await;
    for (name, hash) in [("a", &a), ("b", &b), ("a", &a), ("c", &c)] {
        assert_eq!(visit(&runner, name, hash).await, 200);
        let (_, bytes) = kept(&world);
        let measured = measured(&runner, "annex_runner_cache_bytes").await;
        assert!(bytes > SIZE as u64 && bytes <= measured && measured <= most, "{bytes} {measured}");
    }
    assert_eq!(kept(&world).0, sorted(&[&a, &c]), "b made room");
    assert_eq!(measured(&runner, "annex_runner_cache_bundles").await, 2);
    assert_eq!(measured(&runner, "annex_runner_cache_evictions_total").await, 1);

    world.registry.known().archives = 0;
    assert_eq!((visit(&runner, "a", &a).await, visit(&runner, "c", &c).await), (200, 200));
    assert_eq!(world.registry.known().archives, 0, "both are there");
    assert_eq!(visit(&runner, "b", &b).await, 200);
    assert_eq!(world.registry.known().archives, 1, "b came again");
    assert_eq!(kept(&world).0, sorted(&[&b, &c]));
    eventually("what made room is gone from the disk", async || {
        fs::read_dir(world.at("cache/staging")).unwrap().count() == 0
    })
    .await;
}

#[tokio::test]
async fn what_is_more_than_the_cache_is_not_shown_and_takes_nothing_from_the_others() {
    let world = World::new().await;
    let [small] = many(&world, ["a"]);
    let large = world.publish(HELLO, "ui/index.html", &[("ui/index.html", vec![b'x'; 3 * SIZE])]);
    world.install(HOST, HELLO, &large);
    let runner = world.runner(&["--cache-max-bytes", &(2 * SIZE).to_string()]).await;
    assert_eq!(visit(&runner, "a", &small).await, 200);
    let answer = get(&runner, &page(&large, "index.html"), &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "VerificationFailed"));
    assert_eq!(kept(&world).0, sorted(&[&small]));
    world.registry.known().archives = 0;
    assert_eq!(visit(&runner, "a", &small).await, 200);
    assert_eq!(world.registry.known().archives, 0);
}

#[tokio::test]
async fn what_is_kept_survives_a_restart_and_so_does_its_order() {
    let world = World::new().await;
    let [a, b] = many(&world, ["a", "b"]);
    let runner = world.runner(&[]).await;
    assert_eq!((visit(&runner, "a", &a).await, visit(&runner, "b", &b).await), (200, 200));
    end(runner).await;

    // From now on no bundle can be had.
    world.registry.known().store_is_down = true;
    fs::create_dir_all(world.at("cache/staging/unfinished/files")).unwrap();
    let runner = world.runner(&[]).await;
    assert_eq!(
        fs::read_dir(world.at("cache/staging")).unwrap().count(),
        0,
        "what was not finished is thrown away"
    );
    assert_eq!(measured(&runner, "annex_runner_cache_bundles").await, 2);
    assert_eq!(visit(&runner, "b", &b).await, 200);
    assert_eq!(visit(&runner, "a", &a).await, 200);
    end(runner).await;

    let runner = world.runner(&["--cache-max-bytes", &(2 * SIZE).to_string()]).await;
    assert_eq!(kept(&world).0, sorted(&[&a]), "a was asked for last");
    assert_eq!((visit(&runner, "a", &a).await, visit(&runner, "b", &b).await), (200, 502));
    end(runner).await;

    let runner = world.runner(&["--cache-max-bytes", &SIZE.to_string()]).await;
    assert_eq!(kept(&world), (Vec::new(), 0), "not even one fits any more");
    assert_eq!(measured(&runner, "annex_runner_cache_bytes").await, 0);
}

#[tokio::test]
async fn many_small_files_are_what_they_take_of_a_disk() {
    let world = World::new().await;
    let names: Vec<String> = (0..50).map(|number| format!("ui/{number}/index.html")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), b"x".to_vec())).collect();
    let hash = world.publish(HELLO, "ui/0/index.html", &files);
    world.install(HOST, HELLO, &hash);
    let runner = world.runner(&["--cache-max-bytes", &SIZE.to_string()]).await;
    let answer = get(&runner, &page(&hash, "0/index.html"), &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "VerificationFailed"));
    assert_eq!(kept(&world), (Vec::new(), 0));
    end(runner).await;

    let runner = world.runner(&[]).await;
    assert_eq!(get(&runner, &page(&hash, "0/index.html"), &[]).await.body, "x");
    let (_, bytes) = kept(&world);
    let measured = measured(&runner, "annex_runner_cache_bytes").await;
    assert!(bytes > SIZE as u64 && bytes <= measured, "{bytes} {measured}");
}

/// Something was done to a file of the cache while no runner ran.
async fn after(done: impl FnOnce(&Path)) -> (World, Runner, String) {
    let (world, runner, hash) = World::with_hello().await;
    assert_eq!(get(&runner, &page(&hash, "index.html"), &[]).await.body, PAGE);
    end(runner).await;
    done(&world.at("cache/sha256").join(hash.trim_start_matches("sha256:")));
    world.registry.known().archives = 0;
    let runner = world.runner(&[]).await;
    (world, runner, hash)
}

/// What is done to a bundle's folder, and what to call it.
type Way = (&'static str, fn(&Path));

fn overwrite(path: &PathBuf, content: &[u8]) {
    assert!(path.is_file(), "{}", path.display());
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn what_was_done_to_the_disk_is_never_shown() {
    let evil = "<script>evil()</script>";
    let ways: [Way; 8] = [
        ("another page", |at| overwrite(&at.join("files/ui/index.html"), b"<script>evil()</script>")),
        ("a page of the same length", |at| {
            overwrite(&at.join("files/ui/index.html"), PAGE.replace("app", "EVI").as_bytes());
        }),
        ("more of a page", |at| {
            overwrite(&at.join("files/ui/index.html"), format!("{PAGE}<script>evil()</script>").as_bytes());
        }),
        ("half a page", |at| overwrite(&at.join("files/ui/index.html"), &PAGE.as_bytes()[..10])),
        ("no page", |at| fs::remove_file(at.join("files/ui/index.html")).unwrap()),
        ("a link", |at| {
            fs::remove_file(at.join("files/ui/index.html")).unwrap();
            symlink("/etc/hostname", at.join("files/ui/index.html")).unwrap();
        }),
        ("another manifest", |at| overwrite(&at.join("files/manifest.json"), b"{}")),
        ("another listing", |at| overwrite(&at.join("listing"), b"")),
    ];
    for (what, done) in ways {
        let (world, runner, hash) = after(done).await;
        let answer = get(&runner, &page(&hash, "index.html"), &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, PAGE), "{what}");
        assert_eq!(world.registry.known().archives, 1, "{what}: it came anew");
        assert_eq!(
            get(&runner, "/", &[]).await.header("location"),
            Some(&*page(&hash, "index.html")),
            "{what}"
        );
        // What the others of the bundle were is not in doubt, and is asked for anew all the same.
        assert_eq!(get(&runner, &page(&hash, "logo.png"), &[]).await.status, 200, "{what}");
    }

    let (world, runner, hash) =
        after(|at| overwrite(&at.join("files/ui/index.html"), b"<script>evil()</script>")).await;
    world.registry.known().store_is_down = true;
    let answer = get(&runner, &page(&hash, "index.html"), &[("range", "bytes=0-4")]).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "RegistryUnavailable"),
        "nor where nothing else can be had"
    );
    assert!(!answer.body.contains(&evil[..5]));
    world.registry.known().store_is_down = false;
    assert_eq!(get(&runner, &page(&hash, "index.html"), &[]).await.body, PAGE);
}

#[tokio::test]
async fn a_signature_of_the_cache_is_judged_as_one_that_comes() {
    for file in ["bundle.sig", "receipt.json"] {
        let (world, runner, hash) = after(|at| overwrite(&at.join(file), b"{}")).await;
        assert_eq!(get(&runner, &page(&hash, "index.html"), &[]).await.body, PAGE, "{file}");
        assert_eq!(world.registry.known().archives, 1, "{file}: it came anew");
    }
}

#[tokio::test]
async fn a_folder_is_one_runners_and_nobody_elses() {
    let (world, runner, _) = World::with_hello().await;
    let error = world.try_runner(&[]).await.err().expect("a second runner").to_string();
    assert!(error.contains("--cache-dir") && error.contains("another runner"), "{error}");
    end(runner).await;

    fs::set_permissions(world.at("cache"), fs::Permissions::from_mode(0o777)).unwrap();
    let error = world.try_runner(&[]).await.err().expect("a folder for everybody").to_string();
    assert!(error.contains("--cache-dir") && error.contains("others may write"), "{error}");
    fs::set_permissions(world.at("cache"), fs::Permissions::from_mode(0o700)).unwrap();

    fs::rename(world.at("cache"), world.at("elsewhere")).unwrap();
    symlink(world.at("elsewhere"), world.at("cache")).unwrap();
    let error = world.try_runner(&[]).await.err().expect("a link").to_string();
    assert!(error.contains("is no folder"), "{error}");
    fs::remove_file(world.at("cache")).unwrap();
    fs::rename(world.at("elsewhere"), world.at("cache")).unwrap();
    world.runner(&[]).await;
}

#[tokio::test]
async fn what_is_in_memory_is_what_was_verified_and_shown_only_of_bundles_that_may_be() {
    const OTHER: (&str, &str) = ("acme--other.apps.localhost", "com.example.other");
    let (world, runner, hash) = World::with_hello().await;
    let shared = [("ui/same.html", PAGE.as_bytes().to_vec()), ("ui/index.html", PAGE.as_bytes().to_vec())];
    let other = world.publish(OTHER.1, "ui/index.html", &shared);
    world.install(OTHER.0, OTHER.1, &other);
    let (path, of_other) = (page(&hash, "index.html"), format!("/ext-ui/{}/{other}/same.html", OTHER.1));
    let of_other = async || ask(&runner, "GET", &of_other, OTHER.0, &[]).await;
    assert_eq!(get(&runner, &path, &[]).await.body, PAGE);
    assert_eq!(of_other().await.body, PAGE);

    // Under it, both are changed.
    for file in [format!("{hash}/files/ui/index.html"), format!("{other}/files/ui/same.html")] {
        overwrite(
            &world.at("cache/sha256").join(file.trim_start_matches("sha256:")),
            b"<script>evil()</script>",
        );
    }
    assert_eq!(get(&runner, &path, &[]).await.body, PAGE);
    assert_eq!(of_other().await.body, PAGE);
    let part = get(&runner, &path, &[("range", "bytes=2-8")]).await;
    assert_eq!((part.status, part.body.as_str()), (206, &PAGE[2..=8]));

    world.write("denylist", &format!("content {hash}\n"));
    eventually("it counts", || async { get(&runner, &path, &[]).await.status == 502 }).await;
    assert_eq!(
        (of_other().await.status, of_other().await.body.as_str()),
        (200, PAGE),
        "the same bytes of another"
    );
}
