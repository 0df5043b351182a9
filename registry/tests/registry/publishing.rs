//! `POST /api/bundles`: what is published, and each refusal.

use std::{fs, io, time::Duration};

use annex_registry::{Patience, Scratch};
use axum::{
    body::Body,
    http::{Method, Request},
};
use serde_json::{Value, json};

use crate::support::{Bundle, Options, World, form::Form, hello, key, trusting, until};

#[tokio::test]
async fn what_a_trusted_publisher_signed_is_published_and_verified() {
    let world = World::new().await;
    let _judging = world.judging();
    let bundle = hello("one");
    let answer = world.published(&bundle).await;
    assert_eq!(answer.status, 201, "{:?}", answer.json());
    let body = answer.json();
    assert_eq!(body["name"], "com.example.hello-1.2.3");
    assert_eq!(body["contentHash"], bundle.hash());
    assert_eq!((&body["created"], &body["createdExtension"]), (&json!(true), &json!(true)));
    assert_eq!(body["archive"]["size"], bundle.archive.len());
    assert_eq!(body["capabilities"], json!(["storage.kv", "log"]));

    let version = world.kcp.get("extensionversions", "com.example.hello-1.2.3").unwrap();
    let verified = &version["status"]["conditions"][0];
    assert_eq!(
        (&verified["type"], &verified["status"]),
        (&json!("Verified"), &json!("True")),
        "told when it is so"
    );
    assert_eq!(version["spec"]["publisher"], "example.com");
    let extension = world.kcp.get("extensions", "com.example.hello").unwrap();
    assert_eq!(extension["spec"]["publisher"], "example.com");
    assert!(extension["spec"]["slug"].is_null());
}

#[tokio::test]
async fn what_the_manifest_says_of_modules_interfaces_and_handlers_is_in_the_catalog() {
    let world = World::new().await;
    let _judging = world.judging();
    let digest = format!("sha256:{}", "0a".repeat(32));
    let bundle = Bundle::with(
        &json!({
            "name": "com.example.hello", "publisher": "example.com", "version": "1.2.3",
            "ui": { "entry": "ui/index.html" },
            "modules": [{ "name": "notes", "version": "1.1.0", "digest": digest }],
            "dependencies": [{ "extension": "com.example.base", "version": "^1.2" }],
            "provides": [
                { "interface": "notes", "version": "2.1.0" },
                { "interface": "tags", "version": "1.0.0-rc.1" },
            ],
            "requires": [
                { "interface": "users", "version": "^16" },
                { "interface": "mail", "version": ">=1, <3", "optional": true },
            ],
            "lifecycle": { "install": "setup", "uninstall": "clean-up" },
        }),
        "one",
    );
    let answer = world.published(&bundle).await;
    assert_eq!(answer.status, 201, "{:?}", answer.json());
    let spec = &world.kcp.get("extensionversions", "com.example.hello-1.2.3").unwrap()["spec"];
    assert_eq!(
        spec["modules"],
        json!([{ "name": "notes", "version": "1.1.0", "digest": digest, "deprecated": false }])
    );
    assert_eq!(
        spec["dependencies"],
        json!([{ "extension": "com.example.base", "version": "^1.2", "optional": false }])
    );
    assert_eq!(
        spec["provides"],
        json!([{ "interface": "notes", "version": "2.1.0" }, { "interface": "tags", "version": "1.0.0-rc.1" }])
    );
    assert_eq!(
        spec["requires"],
        json!([
            { "interface": "users", "version": "^16", "optional": false },
            { "interface": "mail", "version": ">=1, <3", "optional": true },
        ])
    );
    assert_eq!(spec["lifecycle"], json!({ "install": "setup", "uninstall": "clean-up" }));

    // What it does not say is left out, and not there as something empty.
    world.published(&Bundle::of("com.example.plain", "1.0.0", "plain")).await;
    let plain = world.kcp.get("extensionversions", "com.example.plain-1.0.0").unwrap();
    for field in ["modules", "dependencies", "provides", "requires", "lifecycle"] {
        assert_eq!(plain["spec"].get(field), None, "{field}");
    }
}

#[tokio::test]
async fn the_same_again_is_no_change_however_it_is_packed_or_signed() {
    let world = World::new().await;
    let _judging = world.judging();
    let bundle = hello("one");
    let first = world.published(&bundle).await.json();
    let stored = world.stored();
    let again = world.publish("bob", bundle.form(&world.publisher)).await;
    assert_eq!((again.status, &again.json()["created"]), (200, &json!(false)));
    assert_eq!(again.json()["publishedAt"], first["publishedAt"]);
    assert_eq!(world.stored(), stored);

    // The same files, in another archive.
    let mut tar = Vec::new();
    let mut entries = zstd_of(&bundle.archive);
    tar.append(&mut entries);
    let repacked = zstd_encode(&tar);
    assert_ne!(repacked, bundle.archive);
    let unpacked =
        annex_bundle::unpack(&repacked[..], &annex_bundle::Limits::default(), annex_bundle::Discard).unwrap();
    let other = Bundle { archive: repacked, unpacked };
    assert_eq!(other.hash(), bundle.hash());
    let again = world.published(&other).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["archive"], first["archive"], "the first archive is kept");
    assert_eq!(world.stored(), stored);
}

fn zstd_of(archive: &[u8]) -> Vec<u8> {
    zstd::decode_all(archive).unwrap()
}

fn zstd_encode(tar: &[u8]) -> Vec<u8> {
    zstd::encode_all(tar, 1).unwrap()
}

#[tokio::test]
async fn other_content_under_the_same_version_is_a_conflict() {
    let world = World::new().await;
    let _judging = world.judging();
    assert_eq!(world.published(&hello("one")).await.status, 201);
    let stored = world.stored();
    assert_eq!(world.published(&hello("two")).await.refusal(), (409, "VersionExists".into()));
    assert_eq!(world.stored(), stored, "refused by the signature, before anything is kept");
}

#[tokio::test]
async fn of_two_who_race_for_a_version_one_wins() {
    let world = World::new().await;
    // The other comes to be there after all has been asked, at the moment of creation.
    world.kcp.race(
        "extensionversions",
        json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion",
            "metadata": { "name": "com.example.hello-1.2.3" },
            "spec": { "extension": "com.example.hello", "version": "1.2.3", "publisher": "example.com",
                "contentHash": format!("sha256:{}", "0a".repeat(32)) },
        }),
    );
    assert_eq!(world.published(&hello("one")).await.refusal(), (409, "VersionExists".into()));

    let world = World::new().await;
    let _judging = world.judging();
    let (one, two) = (hello("one"), hello("two"));
    let (one, two) = tokio::join!(world.published(&one), world.published(&two));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn who_may_not_is_told_which_right_is_missing_and_nothing_else() {
    let world = World::new().await;
    let bundle = hello("one");
    let form = || bundle.form(&world.publisher);
    assert_eq!(world.publish("", form()).await.refusal(), (401, "Unauthenticated".into()));
    let unknown = world.publish("mallory", form()).await;
    assert_eq!(unknown.refusal(), (401, "Unauthenticated".into()));
    assert_eq!(unknown.header("www-authenticate"), "Bearer");
    assert!(!String::from_utf8_lossy(&unknown.body).contains("mallory"));
    let dave = world.publish("dave", form()).await;
    assert_eq!(dave.refusal(), (403, "Forbidden".into()));
    assert!(dave.json()["message"].as_str().unwrap().contains("publish"));
    // Carol may publish it, but not add it.
    let carol = world.publish("carol", form()).await;
    assert_eq!(carol.refusal(), (403, "Forbidden".into()));
    assert!(carol.json()["message"].as_str().unwrap().contains("create"));
    assert!(world.stored().is_empty());

    let _judging = world.judging();
    assert_eq!(world.published(&bundle).await.status, 201);
    let next = Bundle::of("com.example.hello", "1.3.0", "next");
    assert_eq!(world.publish("carol", next.form(&world.publisher)).await.status, 201, "now it is there");
    let other = Bundle::of("com.example.other", "1.0.0", "other");
    assert_eq!(world.publish("carol", other.form(&world.publisher)).await.status, 403);
}

#[tokio::test]
async fn all_that_kcp_says_of_somebody_is_passed_on_unchanged() {
    let world = World::new().await;
    let _judging = world.judging();
    world.published(&hello("one")).await;
    let asked = world.kcp.asked();
    let publish = &asked[0];
    assert_eq!(publish["user"], "alice");
    assert_eq!(publish["uid"], "u-alice");
    assert_eq!(publish["groups"], json!(["people", "system:authenticated"]));
    assert_eq!(publish["extra"], json!({ "example.com/of": ["one", "two"] }));
    assert_eq!(
        publish["resourceAttributes"],
        json!({ "group": "annex.sh", "resource": "extensions", "verb": "publish", "name": "com.example.hello" })
    );
    assert_eq!(asked[1]["resourceAttributes"]["verb"], "create");
}

#[tokio::test]
async fn each_bad_bundle_has_its_own_code() {
    let world = World::new().await;
    let bundle = hello("one");
    let signature = bundle.signed(&world.publisher);
    let stranger = key();
    let flipped = {
        let mut archive = bundle.archive.clone();
        let middle = archive.len() / 2;
        archive[middle] ^= 1;
        archive
    };
    let longer = [&bundle.archive[..], b"x"].concat();
    let other = hello("two");
    for (what, form, code) in [
        ("no signature", Form::new(&bundle.archive), "Unsigned"),
        ("an empty one", Form::new(&bundle.archive).signature(b""), "Unsigned"),
        ("no envelope", Form::new(&bundle.archive).signature(b"{}"), "EnvelopeInvalid"),
        ("a stranger's", bundle.form(&stranger), "UntrustedSigner"),
        ("of another bundle", Form::new(&other.archive).signature(&signature), "DigestMismatch"),
        ("trailing data", Form::new(&longer).signature(&signature), "DigestMismatch"),
        (
            "truncated",
            Form::new(&bundle.archive[..bundle.archive.len() - 1]).signature(&signature),
            "Truncated",
        ),
        ("nothing", Form::new(b"").signature(&signature), "Truncated"),
        (
            "another publisher",
            Bundle::by("example.org", "com.example.hello", "1.2.3", "one").form(&world.publisher),
            "PublisherMismatch",
        ),
    ] {
        for form in [form.clone(), form.reversed()] {
            let refused = world.publish("alice", form).await;
            assert_eq!(refused.refusal(), (422, code.to_owned()), "{what}");
        }
    }
    let refused = world.publish("alice", Form::new(&flipped).signature(&signature)).await;
    assert_eq!(refused.status, 422);
    fs::write(world.file("denylist"), "publisher example.com\n").unwrap();
    world.reload().await;
    assert_eq!(world.published(&bundle).await.refusal(), (422, "Denied".into()));
    assert!(world.stored().is_empty());
    assert!(world.kcp.get("extensions", "com.example.hello").is_none());
}

/// What an author reads of each kind of schema that no install could be checked against.
#[tokio::test]
async fn a_schema_that_no_parameters_can_be_checked_against_is_refused_and_says_why() {
    let world = World::new().await;
    let with = |schema: &Value| {
        let manifest = json!({
            "name": "com.example.hello", "publisher": "example.com", "version": "1.2.3",
            "ui": { "entry": "ui/index.html" }, "parametersSchema": schema,
        });
        Bundle::with(&manifest, "one")
    };
    // Each refers to the next one as `link` says.
    let chain = |length: usize, link: fn(Value) -> Value| {
        let defs: serde_json::Map<String, Value> = (0..length)
            .map(|number| (format!("a{number}"), link(json!({ "$ref": format!("#/$defs/a{}", number + 1) }))))
            .chain([(format!("a{length}"), json!({ "type": "object" }))])
            .collect();
        json!({ "$defs": defs, "$ref": "#/$defs/a0" })
    };
    let options: Vec<usize> = (0..25_000).collect();
    let patterns: Vec<Value> = (0..200).map(|number| json!({ "pattern": format!("^{number}$") })).collect();
    let too_long = "takes too long to check parameters against";
    for (what, schema, why) in [
        ("no type", json!({ "type": "text" }), "the version's schema is none: /type"),
        ("no list", json!({ "required": "port" }), "the version's schema is none: /required"),
        ("no draft", json!({ "$schema": "https://example.com/schema" }), "the version's schema is none"),
        ("no pattern", json!({ "pattern": "(" }), "the version's schema is none: /pattern"),
        ("a look-ahead", json!({ "pattern": "^(?=a)a$" }), "the version's schema is none: /pattern"),
        ("a back reference", json!({ "pattern": "^(a)\\1$" }), "the version's schema is none: /pattern"),
        (
            "a large pattern",
            json!({ "pattern": "((a{99}){99}){99}" }),
            "the version's schema is none: /pattern",
        ),
        ("many patterns", json!({ "anyOf": patterns }), too_long),
        ("a name in it", json!({ "$anchor": "a", "not": { "$ref": "#a" } }), "by other than a pointer"),
        (
            "another document by another word",
            json!({ "not": { "$recursiveRef": "https://example.com/s" } }),
            "by other than a pointer",
        ),
        ("nowhere", json!({ "$ref": "#/$defs/none" }), "which is nowhere in it"),
        (
            "a schema of its own",
            json!({ "not": { "$id": "https://example.com/a" } }),
            "which only the whole may have",
        ),
        ("itself", json!({ "allOf": [{ "$ref": "#" }] }), "more than 128 schemas within each other"),
        ("a long chain", chain(200, |next| next), "more than 128 schemas within each other"),
        (
            "to compile for ever",
            chain(40, |next| json!({ "properties": { "a": next, "b": next } })),
            too_long,
        ),
        (
            "to check for ever",
            json!({ "$defs": { "a": { "enum": options } }, "allOf": vec![json!({ "$ref": "#/$defs/a" }); 6] }),
            too_long,
        ),
    ] {
        let refused = world.published(&with(&schema)).await;
        assert_eq!(refused.refusal(), (422, "ParametersSchemaInvalid".into()), "{what}");
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("parametersSchema of the manifest: "), "{what}: {message}");
        assert!(message.contains(why) && message.chars().count() < 600, "{what}: {message}");
    }
    assert!(world.stored().is_empty());
    assert!(world.kcp.get("extensions", "com.example.hello").is_none());
    assert!(world.kcp.get("extensionversions", "com.example.hello-1.2.3").is_none());

    let _judging = world.judging();
    let usable = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/parameters",
        "type": "object", "additionalProperties": false,
        "$defs": { "tree": { "additionalProperties": { "$ref": "#/$defs/tree" } } },
        "properties": { "port": { "type": "integer", "maximum": 65535 }, "tree": { "$ref": "#/$defs/tree" } },
    });
    let published = world.published(&with(&usable)).await;
    assert_eq!(published.status, 201, "{:?}", published.json());
    let version = world.kcp.get("extensionversions", "com.example.hello-1.2.3").unwrap();
    assert_eq!(version["spec"]["parametersSchema"], usable);
}

#[tokio::test]
async fn an_extension_of_another_publisher_stays_theirs() {
    let world = World::new().await;
    fs::write(world.file("trust.pem"), trusting(&world.publisher, "*")).unwrap();
    world.reload().await;
    world.kcp.put(
        "extensions",
        json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "Extension", "metadata": { "name": "com.example.hello" },
            "spec": { "displayName": "Hello", "publisher": "example.org" } }),
    );
    assert_eq!(world.published(&hello("one")).await.refusal(), (422, "PublisherMismatch".into()));
}

#[tokio::test]
async fn a_slug_that_exists_is_refused_and_no_extension_is_made() {
    let world = World::new().await;
    let _judging = world.judging();
    assert_eq!(world.published(&hello("one")).await.status, 201);
    let other = Bundle::of("org.example.hello", "1.0.0", "other");
    assert_eq!(world.published(&other).await.refusal(), (409, "SlugTaken".into()));
    assert!(world.kcp.get("extensions", "org.example.hello").is_none());
    // One that an operator has made with a slug of its own is not asked.
    world.kcp.put(
        "extensions",
        json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "Extension", "metadata": { "name": "org.example.hello" },
            "spec": { "displayName": "Hello", "publisher": "example.com", "slug": "hello2" } }),
    );
    let made = world.published(&other).await;
    assert_eq!((made.status, &made.json()["createdExtension"]), (201, &json!(false)));
}

#[tokio::test]
async fn a_body_that_is_none_is_malformed() {
    let world = World::new().await;
    let bundle = hello("one");
    let signature = bundle.signed(&world.publisher);
    let whole = bundle.form(&world.publisher);
    for (what, form) in [
        ("no archive", Form::default().signature(&signature)),
        ("nothing", Form::default()),
        ("two archives", whole.clone().part("archive", b"x")),
        ("two signatures", whole.clone().part("signature", &signature)),
        ("another part", whole.clone().part("file", b"x")),
    ] {
        assert_eq!(world.publish("alice", form).await.refusal(), (400, "MalformedRequest".into()), "{what}");
    }
    let cut = whole.bytes();
    let cut = Form::request_of("alice", Body::from(cut[..cut.len() - 40].to_vec()));
    assert_eq!(world.send(cut).await.refusal(), (400, "MalformedRequest".into()));
    for content_type in ["", "application/octet-stream", "multipart/form-data", "multipart/mixed; boundary=x"]
    {
        let request = Request::post("/api/bundles")
            .header("authorization", "Bearer alice")
            .header("content-type", content_type)
            .body(Body::from(whole.bytes()))
            .unwrap();
        assert_eq!(
            world.send(request).await.refusal(),
            (415, "UnsupportedMediaType".into()),
            "{content_type}"
        );
    }
    assert!(world.stored().is_empty());
}

#[tokio::test]
async fn a_signature_that_is_too_large_is_refused() {
    let world = World::new().await;
    let form = Form::new(b"x").signature(&vec![b' '; (64 << 10) + 1]);
    let refused = world.publish("alice", form).await;
    assert_eq!(refused.refusal(), (413, "TooLarge".into()));
    assert_eq!(refused.header("connection"), "close");
}

#[tokio::test(start_paused = true)]
async fn an_upload_of_which_nothing_comes_ends() {
    let patience = Patience { silence: Duration::from_secs(30), ..Patience::default() };
    let world = World::with(Options { patience, ..Options::default() }).await;
    let form = hello("one").form(&world.publisher);
    for bytes in [0, 10, 300, form.bytes().len() - 60] {
        let started = tokio::time::Instant::now();
        let refused = world.send(Form::request_of("alice", form.stalled(bytes))).await;
        assert_eq!(refused.refusal(), (408, "UploadTimeout".into()), "{bytes}");
        assert!(started.elapsed() < Duration::from_secs(60), "{bytes}");
    }
    assert_eq!(world.app.places.taken(), 0);
}

#[tokio::test]
async fn a_full_disk_is_told() {
    // Linux has a device that is always full.
    let full = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/full");
    let world = World::with(Options { scratch: Some(Scratch::with(full)), ..Options::default() }).await;
    assert_eq!(world.published(&hello("one")).await.refusal(), (507, "DiskFull".into()));
    let none = || Err(io::Error::from(io::ErrorKind::QuotaExceeded));
    let world = World::with(Options { scratch: Some(Scratch::with(none)), ..Options::default() }).await;
    assert_eq!(world.published(&hello("one")).await.refusal(), (507, "DiskFull".into()));
}

#[tokio::test]
async fn there_are_only_so_many_uploads_at_a_time() {
    let world = World::with(Options { uploads: 1, ..Options::default() }).await;
    let form = hello("one").form(&world.publisher);
    let request = Form::request_of("alice", form.stalled(10));
    let stalled = tokio::spawn(tower::ServiceExt::oneshot(world.router(), request));
    until("the upload has begun", || world.app.places.taken() == 1).await;
    let refused = world.publish("bob", form.clone()).await;
    assert_eq!(refused.refusal(), (429, "TooManyUploads".into()));
    assert!(!refused.header("retry-after").is_empty());
    stalled.abort();
    until("it has gone", || world.app.places.taken() == 0).await;
    let _judging = world.judging();
    assert_eq!(world.publish("bob", form).await.status, 201);
}

#[tokio::test]
async fn a_kcp_that_does_not_answer_is_told_and_nothing_of_why() {
    let world = World::new().await;
    world.kcp.set_down(true);
    let refused = world.published(&hello("one")).await;
    assert_eq!(refused.refusal(), (503, "KcpUnavailable".into()));
    assert!(!refused.header("retry-after").is_empty());
    assert!(!String::from_utf8_lossy(&refused.body).contains("refused"));
}

#[tokio::test]
async fn a_receipt_that_nobody_accepts_any_more_is_written_anew_by_publishing_again() {
    let world = World::new().await;
    let _judging = world.judging();
    let bundle = hello("one");
    assert_eq!(world.published(&bundle).await.status, 201);
    let verified = || {
        let version = world.kcp.get("extensionversions", "com.example.hello-1.2.3").unwrap();
        version["status"]["conditions"][0]["reason"].as_str().unwrap_or_default().to_owned()
    };
    // The registry's key was stolen: another takes its place, and it is not published any more.
    let next = key();
    fs::write(world.file("registry.key"), next.to_pem().as_bytes()).unwrap();
    fs::write(world.file("keys.json"), crate::support::published(&[&next])).unwrap();
    world.reload().await;
    until("it is refused", || verified() == "UntrustedReceipt").await;
    let again = world.published(&bundle).await;
    assert_eq!(again.status, 200);
    until("it is verified again", || verified() == "Verified").await;
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_the_same_form() {
    let world = World::new().await;
    assert_eq!(world.get("/", "").await.refusal(), (404, "NotFound".into()));
    assert_eq!(world.get("/api/bundles", "alice").await.refusal(), (405, "MethodNotAllowed".into()));
    let request = Request::builder().method(Method::DELETE).uri("/api/catalog").body(Body::empty()).unwrap();
    assert_eq!(world.send(request).await.refusal(), (405, "MethodNotAllowed".into()));
    let keys = world.get("/api/keys", "").await;
    assert_eq!((keys.status, keys.body), (200, fs::read(world.file("keys.json")).unwrap()));
}
