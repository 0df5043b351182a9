//! What is not verified, or not any more, is not shown; and why is for the log alone.

use std::fs;

use futures::future::join_all;

use crate::{
    published::Stored,
    support::{Runner, eventually},
    world::{HELLO, PAGE, World, files, get, page},
};

async fn is_refused(runner: &Runner, hash: &str, what: &str) {
    let file = page(hash, "index.html");
    for (path, headers) in [
        ("/", &[][..]),
        (&file, &[]),
        (&file, &[("range", "bytes=0-9")]),
        (&file, &[("if-none-match", "*")]),
        (&page(hash, "logo.png"), &[]),
        (&page(hash, "missing.js"), &[]),
    ] {
        let answer = get(runner, path, headers).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "VerificationFailed"), "{what}: {path}");
        // No page, and nothing of the reason: whoever browses can do nothing with it.
        for word in ["doctype", "denylist", "signature", "receipt", "Digest", "sha256", "example.com"] {
            assert!(!answer.body.contains(word), "{what}: {}", answer.body);
        }
    }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

type Tamper = Box<dyn Fn(&World, &Stored) -> Stored>;

#[tokio::test]
async fn a_bundle_that_was_tampered_with_in_the_store_is_not_shown() {
    let other = |world: &World| {
        let hash =
            world.publish("com.example.other", "ui/index.html", &[("ui/index.html", b"other".to_vec())]);
        world.registry.known().bundles[hash.trim_start_matches("sha256:")].clone()
    };
    let forger = || annex_bundle::SigningKey::generate(annex_bundle::KeyType::Ed25519).unwrap();
    let ways: Vec<(&str, Tamper)> = vec![
        (
            "a bit of the archive",
            Box::new(|_, is| Stored { archive: flipped(&is.archive, is.archive.len() / 2), ..is.clone() }),
        ),
        (
            "the archive's end",
            Box::new(|_, is| Stored { archive: is.archive[..is.archive.len() - 1].to_vec(), ..is.clone() }),
        ),
        (
            "more of the archive",
            Box::new(|_, is| Stored { archive: [&is.archive[..], b"x"].concat(), ..is.clone() }),
        ),
        (
            "another page, packed anew",
            Box::new(|_, is| {
                let manifest = format!(
                    r#"{{"name":"{HELLO}","publisher":"example.com","version":"1.0.0","ui":{{"entry":"ui/index.html"}}}}"#
                );
                let files: [(&str, &[u8]); 3] = [
                    ("manifest.json", manifest.as_bytes()),
                    ("main.wasm", b"\0asm\x0d\0\x01\0 a component"),
                    ("ui/index.html", b"<!doctype html>evil"),
                ];
                let mut archive = Vec::new();
                annex_bundle::pack_files(files, &annex_bundle::Limits::default(), &mut archive).unwrap();
                Stored { archive, ..is.clone() }
            }),
        ),
        ("another's bundle, whole", Box::new(move |world, _| other(world))),
        (
            "another's archive",
            Box::new(move |world, is| Stored { archive: other(world).archive, ..is.clone() }),
        ),
        (
            "another's signature",
            Box::new(move |world, is| Stored { signature: other(world).signature, ..is.clone() }),
        ),
        (
            "another's receipt",
            Box::new(move |world, is| Stored { receipt: other(world).receipt, ..is.clone() }),
        ),
        ("no signature", Box::new(|_, is| Stored { signature: Vec::new(), ..is.clone() })),
        ("no receipt", Box::new(|_, is| Stored { receipt: b"{}".to_vec(), ..is.clone() })),
        (
            "a forger's signature",
            Box::new(move |_, is| {
                let unpacked = annex_bundle::unpack(
                    &is.archive[..],
                    &annex_bundle::Limits::default(),
                    annex_bundle::Discard,
                )
                .unwrap();
                let signature =
                    annex_bundle::sign(&unpacked, &forger(), &[], jiff::Timestamp::now()).unwrap();
                Stored { signature, ..is.clone() }
            }),
        ),
    ];
    for (what, tampered) in ways {
        let (world, runner, hash) = World::with_hello().await;
        let hex = hash.trim_start_matches("sha256:");
        let is = world.registry.known().bundles[hex].clone();
        let tampered = tampered(&world, &is);
        world.registry.known().bundles.insert(hex.to_owned(), tampered);
        is_refused(&runner, &hash, what).await;
        assert_eq!(fs::read_dir(world.at("cache/sha256")).unwrap().count(), 0, "{what}: nothing is kept");
        eventually("nothing is left over", async || {
            fs::read_dir(world.at("cache/staging")).unwrap().count() == 0
        })
        .await;
        assert!(world.registry.known().archives <= 1, "{what}: it is not fetched for each who asks");
    }
}

#[tokio::test]
async fn what_is_revoked_is_not_shown_though_it_is_in_the_cache_and_comes_back_when_it_is_not() {
    let (world, forgetful, hash) = World::with_hello().await;
    crate::world::end(forgetful).await;
    let runner = world.runner_that_remembers("60000", &[]).await.unwrap();
    let path = page(&hash, "index.html");
    // Looked up, and then from what was answered.
    for _ in 0..2 {
        assert_eq!(get(&runner, &path, &[]).await.body, PAGE);
    }
    let is = |status: u16| {
        let (runner, path) = (&runner, &path);
        async move { get(runner, path, &[]).await.status == status }
    };
    for (file, content) in [
        ("denylist", format!("content {hash}\n")),
        ("denylist", "publisher example.com\n".to_owned()),
        ("trust.pem", String::new()),
        ("keys.json", r#"{"keys":[]}"#.to_owned()),
    ] {
        let before = fs::read_to_string(world.at(file)).unwrap();
        world.write(file, &content);
        eventually(&format!("{file} counts"), || is(502)).await;
        is_refused(&runner, &hash, &content).await;
        world.write(file, &before);
        eventually(&format!("{file} of before counts"), || is(200)).await;
        assert_eq!(get(&runner, &path, &[]).await.body, PAGE);
    }
}

#[tokio::test]
async fn what_was_revoked_while_no_runner_ran_is_not_shown() {
    let (world, runner, hash) = World::with_hello().await;
    assert_eq!(get(&runner, &page(&hash, "index.html"), &[]).await.body, PAGE);
    crate::world::end(runner).await;
    world.write("denylist", &format!("content {hash}\n"));
    let runner = world.runner(&[]).await;
    is_refused(&runner, &hash, "revoked").await;
}

#[tokio::test]
async fn a_mistake_in_a_file_leaves_what_was_before_and_is_told() {
    let (world, runner, hash) = World::with_hello().await;
    assert_eq!(get(&runner, &page(&hash, "index.html"), &[]).await.body, PAGE);
    world.write("denylist", "nonsense\n");
    eventually("it is told", async || runner.internal("/readyz").await.body.contains("the denylist")).await;
    assert_eq!(get(&runner, &page(&hash, "index.html"), &[]).await.body, PAGE);
    assert!(world.try_runner(&["--cache-dir", "/nonexistent"]).await.is_err());
}

#[tokio::test]
async fn a_store_that_is_down_is_502_until_it_is_back() {
    let (world, runner, hash) = World::with_hello().await;
    world.registry.known().store_is_down = true;
    for path in ["/", &page(&hash, "index.html")] {
        let answer = get(&runner, path, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "RegistryUnavailable"), "{path}");
    }
    world.registry.known().store_is_down = false;
    assert_eq!(get(&runner, &page(&hash, "index.html"), &[]).await.body, PAGE, "that is not remembered");
}

#[tokio::test]
async fn many_who_ask_at_once_wait_for_one_load() {
    let (world, runner, hash) = World::with_hello().await;
    let path = page(&hash, "big.css");
    let expected = files().into_iter().find(|(name, _)| *name == "ui/big.css").unwrap().1;
    for answer in join_all((0..20).map(|_| get(&runner, &path, &[]))).await {
        assert!(answer.status == 200 && answer.bytes == expected, "{}", answer.status);
    }
    assert_eq!(world.registry.known().archives, 1);
}
