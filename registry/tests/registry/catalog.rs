//! `GET /api/catalog`.

use serde_json::json;

use crate::support::{Bundle, Options, World, hello};

#[tokio::test]
async fn whoever_is_known_reads_it() {
    let world = World::new().await;
    let _judging = world.judging();
    world.published(&hello("one")).await;
    world.published(&Bundle::of("com.example.hello", "2.0.0", "two")).await;
    for token in ["", "mallory"] {
        assert_eq!(world.get("/api/catalog", token).await.refusal(), (401, "Unauthenticated".into()));
    }
    let catalog = world.get("/api/catalog", "dave").await;
    assert_eq!(catalog.status, 200);
    let hello = &catalog.json()["extensions"][0];
    assert_eq!((hello["name"].as_str(), hello["slug"].as_str()), (Some("com.example.hello"), Some("hello")));
    let versions = hello["versions"].as_array().unwrap();
    let numbers: Vec<_> = versions.iter().map(|version| version["version"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["2.0.0", "1.2.3"]);
    assert_eq!(
        (versions[1]["verified"].as_str(), versions[1]["reason"].as_str()),
        (Some("True"), Some("Verified"))
    );
    let none = world.get("/api/catalog?extension=com.example.none", "dave").await.json();
    assert_eq!(none["extensions"].as_array().unwrap().len(), 0);
    assert_eq!(world.get("/api/catalog?extension=a&extension=b", "dave").await.refusal().0, 400);
}

#[tokio::test]
async fn what_a_version_needs_and_what_others_find_in_it_is_shown() {
    let world = World::new().await;
    let _judging = world.judging();
    let bundle = Bundle::with(
        &json!({
            "name": "com.example.hello", "publisher": "example.com", "version": "1.2.3", "ui": { "entry": "ui/index.html" },
            "dependencies": [{ "extension": "com.example.base", "version": "^1.2" }],
            "provides": [{ "interface": "notes", "version": "2.1.0" }],
            "requires": [
                { "interface": "users", "version": "^16" },
                { "interface": "mail", "version": ">=1, <3", "optional": true },
            ],
        }),
        "one",
    );
    world.published(&bundle).await;
    world.published(&Bundle::of("com.example.hello", "1.0.0", "plain")).await;
    let catalog = world.get("/api/catalog", "dave").await.json();
    let [newest, plain] = [0, 1].map(|at| &catalog["extensions"][0]["versions"][at]);
    assert_eq!(
        newest["dependencies"],
        json!([{ "extension": "com.example.base", "version": "^1.2", "optional": false }])
    );
    assert_eq!(newest["provides"], json!([{ "interface": "notes", "version": "2.1.0" }]));
    assert_eq!(
        newest["requires"],
        json!([
            { "interface": "users", "version": "^16", "optional": false },
            { "interface": "mail", "version": ">=1, <3", "optional": true },
        ])
    );
    for field in ["dependencies", "provides", "requires"] {
        assert_eq!(plain[field], json!([]), "{field}");
    }
}

#[tokio::test]
async fn kcp_is_not_asked_about_a_token_each_time() {
    let world = World::new().await;
    for _ in 0..5 {
        assert_eq!(world.get("/api/catalog", "dave").await.status, 200);
        assert_eq!(world.get("/api/catalog", "mallory").await.status, 401);
    }
    assert_eq!(world.kcp.seen("tokenreviews"), 2);
}

#[tokio::test]
async fn before_it_was_read_it_is_not_shown() {
    let world = World::with(Options { synced: false, ..Options::default() }).await;
    assert_eq!(world.get("/api/catalog", "dave").await.refusal(), (503, "NotSynced".into()));
}
