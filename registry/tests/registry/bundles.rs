//! `GET /bundles/…`.

use annex_service::RunnerTokens;

use crate::support::{RUNNER, World, hello};

#[tokio::test]
async fn a_runner_gets_the_files_whole_in_part_and_not_twice() {
    let world = World::new().await;
    let _judging = world.judging();
    let bundle = hello("one");
    world.published(&bundle).await;
    let base = format!("/bundles/sha256/{}", bundle.hash().strip_prefix("sha256:").unwrap());
    let archive = format!("{base}/bundle.tar.zst");
    let size = bundle.archive.len();

    let whole = world.get(&archive, RUNNER).await;
    assert_eq!((whole.status, &whole.body), (200, &bundle.archive));
    assert_eq!(whole.header("content-type"), "application/vnd.annex.bundle.v1.tar+zstd");
    assert!(whole.header("cache-control").contains("immutable"));
    assert_eq!(whole.header("content-length"), size.to_string());
    let etag = whole.header("etag").to_owned();
    assert!(etag.starts_with("\"sha256:"));

    let part = world.get_with(&archive, RUNNER, &[("range", "bytes=4-9")]).await;
    assert_eq!((part.status, &part.body[..]), (206, &bundle.archive[4..10]));
    assert_eq!(part.header("content-range"), format!("bytes 4-9/{size}"));
    let beyond = world.get_with(&archive, RUNNER, &[("range", "bytes=999999999-")]).await;
    assert_eq!(beyond.refusal(), (416, "RangeNotSatisfiable".into()));
    assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));
    let known = world.get_with(&archive, RUNNER, &[("if-none-match", &etag)]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));

    for file in ["bundle.sig", "receipt.json"] {
        let small = world.get(&format!("{base}/{file}"), RUNNER).await;
        assert_eq!((small.status, small.header("content-type")), (200, "application/json"), "{file}");
        let json = small.json();
        assert!(json["signatures"].is_array(), "{file}");
        let part = world.get_with(&format!("{base}/{file}"), RUNNER, &[("range", "bytes=1-3")]).await;
        assert_eq!((part.status, &part.body[..]), (206, &small.body[1..4]));
    }
}

#[tokio::test]
async fn nobody_else_gets_them_and_nothing_else_is_there() {
    let world = World::new().await;
    let _judging = world.judging();
    let bundle = hello("one");
    world.published(&bundle).await;
    let base = format!("/bundles/sha256/{}", bundle.hash().strip_prefix("sha256:").unwrap());
    for token in ["", "alice", "0123456789abcdef0123456789abcdef-ruNner"] {
        let refused = world.get(&format!("{base}/bundle.tar.zst"), token).await;
        assert_eq!(refused.refusal(), (401, "Unauthenticated".into()), "{token}");
    }
    let upper = base.to_uppercase().replace("/BUNDLES/SHA256", "/bundles/sha256");
    for path in [
        format!("{base}/bundle.json"),
        format!("{base}/.."),
        format!("{base}/%2e%2e%2fbundle.json"),
        format!("{upper}/bundle.tar.zst"),
        format!("/bundles/sha256/{}/bundle.tar.zst", "0a".repeat(32)),
        "/bundles/sha256/x/bundle.tar.zst".to_owned(),
    ] {
        assert_eq!(world.get(&path, RUNNER).await.refusal(), (404, "UnknownBundle".into()), "{path}");
    }
    let tokens = RunnerTokens::parse(RUNNER.as_bytes()).unwrap();
    let of_one = tokens.of_workspace("acme").unwrap();
    assert_eq!(world.get(&format!("{base}/bundle.tar.zst"), &of_one).await.status, 200);
}
