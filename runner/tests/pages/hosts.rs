//! The host decides whose pages they are, and no path leads out of them.

use crate::{
    support::{Runner, eventually, say},
    world::{HELLO, HOST, PAGE, World, ask, end, files, get, page},
};

const OTHER: &str = "globex--other.apps.localhost";

async fn is_served(runner: &Runner, hash: &str) {
    let answer = get(runner, &page(hash, "index.html"), &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, PAGE), "the next honest request");
}

#[tokio::test]
async fn no_spelling_leads_out_of_the_pages() {
    let (world, runner, hash) = World::with_hello().await;
    is_served(&runner, &hash).await;
    // A bundle has these files, and the disk has others, one and more folders up.
    let targets = ["manifest.json", "main.wasm", "listing", "bundle.sig", "../../../denylist", "etc/passwd"];
    let dots = [
        // As it is; encoded once, in either case and by half; twice; overlong; as UTF-16 in the way of IIS; and with what splits it on
        // other systems, bare and encoded.
        "../",
        "%2e%2e/",
        "%2E%2E/",
        ".%2e/",
        "%2e./",
        "%252e%252e/",
        "%25252e%25252e/",
        "%c0%ae%c0%ae/",
        "%e0%80%ae%e0%80%ae/",
        "%u002e%u002e/",
        "..%2f",
        "%2e%2e%2f",
        "..%252f",
        "..%c0%af",
        "..\\",
        "..%5c",
        "%2e%2e%5c",
        "..%255c",
        "....//",
        "..;/",
        "..%00/",
        "./../",
        "x/../../",
        "//",
        "%2f",
        "%5c",
    ];
    for dots in dots {
        for target in targets {
            for times in [1, 2, 8] {
                let path = page(&hash, &format!("{}{target}", dots.repeat(times)));
                let answer = get(&runner, &path, &[]).await;
                assert!(
                    (answer.status, answer.code().as_str()) == (404, "NotFound"),
                    "{path}: {} {}",
                    answer.status,
                    answer.body
                );
            }
        }
    }
    // And instead of the extension and its hash.
    for path in [
        format!("/ext-ui/../ext-ui/{HELLO}/{hash}/index.html"),
        format!("/ext-ui/%2e%2e/{HELLO}/{hash}/index.html"),
        format!("/ext-ui/{HELLO}/../{hash}/index.html"),
        format!("/ext-ui/{HELLO}/{hash}%2findex.html"),
        format!("/ext-ui/{HELLO}%2f{hash}/index.html"),
        format!("/ext-ui//{HELLO}/{hash}/index.html"),
        format!("//ext-ui/{HELLO}/{hash}/index.html"),
        format!("/EXT-UI/{HELLO}/{hash}/index.html"),
        format!("/ext-ui%2f{HELLO}/{hash}/index.html"),
        format!("/ext-ui/{HELLO}/{}/index.html", hash.to_uppercase()),
        format!("/ext-ui/{HELLO}/{}/index.html", hash.trim_start_matches("sha256:")),
        format!("/ext-ui/{}/{hash}/index.html", HELLO.to_uppercase()),
        format!("/ext-ui/{HELLO}/{hash}"),
        "/ext-ui/".to_owned(),
        "/ext-ui".to_owned(),
    ] {
        let answer = get(&runner, &path, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "NotFound"), "{path}");
    }
    is_served(&runner, &hash).await;
    assert_eq!(world.registry.known().archives, 1);
}

#[tokio::test]
async fn a_host_is_one_however_it_is_spelled() {
    let (world, runner, hash) = World::with_hello().await;
    let idn = "xn--bcher-kva--hello.apps.localhost";
    world.install(idn, HELLO, &hash);
    let path = page(&hash, "index.html");
    for host in [
        HOST.to_owned(),
        format!("{HOST}:8080"),
        HOST.to_uppercase(),
        format!("{HOST}."),
        format!("{}.:443", HOST.to_uppercase()),
        idn.to_owned(),
        format!("{}:8080", idn.to_uppercase()),
    ] {
        let answer = ask(&runner, "GET", &path, &host, &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, PAGE), "{host}");
        assert_eq!(ask(&runner, "GET", "/", &host, &[]).await.header("location"), Some(&*path), "{host}");
    }
    let absolute = format!("GET http://{HOST}{path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    assert_eq!(say(runner.public, absolute.as_bytes()).await.body, PAGE);
}

#[tokio::test]
async fn a_host_that_is_not_one_is_400_and_nothing_is_looked_up() {
    let (world, runner, hash) = World::with_hello().await;
    world.install(OTHER, HELLO, &hash);
    let path = page(&hash, "index.html");
    for (target, hosts) in [
        (path.clone(), format!("host: {HOST}\r\nhost: {HOST}\r\n")),
        (path.clone(), format!("host: {HOST}\r\nHost: {OTHER}\r\n")),
        (path.clone(), String::new()),
        (path.clone(), "host: \r\n".to_owned()),
        (path.clone(), format!("host: {HOST}, {OTHER}\r\n")),
        (path.clone(), format!("host: {HOST}..\r\n")),
        (path.clone(), format!("host: {HOST}:http\r\n")),
        (path.clone(), format!("host: user@{HOST}\r\n")),
        (path.clone(), "host: bücher--hello.apps.localhost\r\n".to_owned()),
        (path.clone(), "host: b%C3%BCcher--hello.apps.localhost\r\n".to_owned()),
        // What the request line says and the header does not.
        (format!("http://{OTHER}{path}"), format!("host: {HOST}\r\n")),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let answer = say(runner.public, request.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "MalformedHost"), "{request}");
    }
    assert_eq!(world.registry.known().lookups, 0);
    is_served(&runner, &hash).await;
}

#[tokio::test]
async fn what_speaks_of_another_install_than_the_host_is_404() {
    let (world, runner, hash) = World::with_hello().await;
    let other = "com.example.other";
    let others = world.publish(other, "ui/index.html", &[("ui/index.html", b"the other".to_vec())]);
    world.install(OTHER, other, &others);
    // Both are in the cache.
    is_served(&runner, &hash).await;
    let theirs = format!("/ext-ui/{other}/{others}/index.html");
    assert_eq!(ask(&runner, "GET", &theirs, OTHER, &[]).await.body, "the other");
    for path in [
        theirs,
        format!("/ext-ui/{HELLO}/{others}/index.html"),
        format!("/ext-ui/{other}/{hash}/index.html"),
        format!("{}?tenant=globex", page(&hash, "index.html")),
        format!("{}?tenant=acme&tenant=globex", page(&hash, "index.html")),
        format!("{}?extension={other}", page(&hash, "index.html")),
        format!("{}?hash={others}", page(&hash, "index.html")),
        "/?tenant=globex".to_owned(),
        format!("/?extension={other}"),
    ] {
        let answer = get(&runner, &path, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "NotFound"), "{path}");
    }
    for query in ["?x=1", "?tenant=acme", &format!("?tenant=acme&extension={HELLO}&hash={hash}")] {
        let answer = get(&runner, &format!("{}{query}", page(&hash, "index.html")), &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, PAGE), "{query}");
        assert_eq!(get(&runner, &format!("/{query}"), &[]).await.status, 307, "{query}");
    }
    // A host that has another content now no longer has what it had.
    let newer = world.publish(HELLO, "ui/index.html", &[("ui/index.html", b"newer".to_vec())]);
    world.install(HOST, HELLO, &newer);
    assert_eq!(get(&runner, &page(&hash, "index.html"), &[]).await.status, 404);
    assert_eq!(get(&runner, &page(&newer, "index.html"), &[]).await.body, "newer");
}

#[tokio::test]
async fn a_bundle_that_is_another_extensions_is_not_shown_as_this_one() {
    let world = World::new().await;
    let hash = world.publish("com.example.other", "ui/index.html", &files());
    world.install(HOST, HELLO, &hash);
    let runner = world.runner(&[]).await;
    for path in ["/", &page(&hash, "index.html")] {
        let answer = get(&runner, path, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "VerificationFailed"), "{path}");
    }
}

#[tokio::test]
async fn strict_validation_asks_about_each_file_and_without_it_nobody_is_asked() {
    let (world, strict, hash) = World::with_hello().await;
    let path = page(&hash, "index.html");
    is_served(&strict, &hash).await;
    let asked = [("tenant", "acme"), ("extension", HELLO), ("hash", &hash)];
    let asked = asked.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(std::mem::take(&mut world.registry.known().validated), [asked]);

    world.registry.known().withdrawn = true;
    let answer = get(&strict, &path, &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "NotFound"), "though it is in the cache");
    assert_eq!(world.registry.known().validated.len(), 1);

    let cache = world.at("another-cache").display().to_string();
    let lenient = Runner::start_as(
        &world.registry.url,
        &[
            "--trust-bundle",
            &world.at("trust.pem").display().to_string(),
            "--registry-keys",
            &world.at("keys.json").display().to_string(),
            "--cache-dir",
            &cache,
            "--static-strict-validation",
            "false",
            "--lookup-ttl-ms=0",
        ],
    )
    .await
    .unwrap();
    is_served(&lenient, &hash).await;
    assert_eq!(world.registry.known().validated.len(), 1);
    // The host is asked for all the same.
    world.registry.known().installs.clear();
    assert_eq!(get(&lenient, &path, &[]).await.code(), "UnknownHost");
}

#[tokio::test]
async fn what_the_registry_said_a_moment_ago_holds_for_files_and_for_no_longer() {
    let (world, asks_each_time, hash) = World::with_hello().await;
    end(asks_each_time).await;
    let known = || world.registry.known();
    let answers = async |runner: &Runner, path: &str| {
        let answer = get(runner, path, &[]).await;
        if answer.status == 200 { String::new() } else { answer.code() }
    };
    let path = page(&hash, "index.html");
    let runner = world.runner_that_remembers("60000", &[]).await.unwrap();
    let questions = || {
        let known = known();
        (known.lookups, known.validated.len())
    };
    let before = questions();
    for _ in 0..20 {
        is_served(&runner, &hash).await;
    }
    assert_eq!(questions(), (before.0 + 1, before.1 + 1), "one of each for all");
    // A path that is not what the host is: whether it has become so meanwhile is asked, and asked once where nothing is remembered.
    let other = page(&format!("sha256:{}", "7".repeat(64)), "index.html");
    for (forgotten, asked) in [(false, 1), (true, 1)] {
        if forgotten {
            known().installs.clear();
            assert_eq!(answers(&runner, "/").await, "UnknownHost");
            world.install(HOST, HELLO, &hash);
        }
        let before = questions().0;
        assert_eq!(answers(&runner, &other).await, "NotFound");
        assert_eq!(questions().0 - before, asked, "{forgotten}");
    }
    known().withdrawn = true;
    is_served(&runner, &hash).await;

    // Whoever asks what the host is, or for its first page, hears what it is now; and so do, by that, files. What the registry does not know
    // is not remembered: a new install answers at once.
    known().withdrawn = false;
    for now in ["/.well-known/annex-install", "/"] {
        known().installs.clear();
        assert_eq!(answers(&runner, now).await, "UnknownHost");
        assert_eq!(answers(&runner, &path).await, "UnknownHost");
        world.install(HOST, HELLO, &hash);
        is_served(&runner, &hash).await;
    }

    // A page that came with an upgrade is served at once, and the one before it no more.
    let mut other = files();
    other.push(("ui/more.txt", b"more".to_vec()));
    let upgraded = world.publish(HELLO, "ui/index.html", &other);
    world.install(HOST, HELLO, &upgraded);
    is_served(&runner, &upgraded).await;
    assert_eq!(answers(&runner, &path).await, "NotFound");

    // What is denied is no question to the registry.
    world.write("denylist", &format!("content {upgraded}\n"));
    eventually("it is refused", async || {
        answers(&runner, &page(&upgraded, "index.html")).await == "VerificationFailed"
    })
    .await;

    world.write("denylist", "");
    world.install(HOST, HELLO, &hash);
    end(runner).await;
    let brief = world.runner_that_remembers("200", &[]).await.unwrap();
    is_served(&brief, &hash).await;
    known().withdrawn = true;
    eventually("it is noticed", async || {
        // That the host is asked for again and again says nothing of its content.
        assert_eq!(get(&brief, "/", &[]).await.status, 307);
        answers(&brief, &path).await == "NotFound"
    })
    .await;
}
