//! Manifests, and where they are wrong.

use annex_bundle::{Manifest, manifest_schema};
use serde_json::{Value, json};

const FULL: &str = include_str!("manifest.full.json");

fn full() -> Value {
    serde_json::from_str(FULL).unwrap()
}

fn read(json: &Value) -> Result<Manifest, annex_bundle::DocumentError> {
    Manifest::from_json(json.to_string().as_bytes())
}

#[test]
fn a_full_manifest_is_read_and_written_as_it_was() {
    let manifest = Manifest::from_json(FULL.as_bytes()).unwrap();
    let mut expected = full();
    expected.as_object_mut().unwrap().remove("$schema");
    assert_eq!(serde_json::to_value(&manifest).unwrap(), expected);
    assert_eq!(read(&expected).unwrap(), manifest);
}

#[test]
fn the_least_manifest_is_short() {
    let least = json!({"name": "com.example.hello", "publisher": "example.com", "version": "0.1.0"});
    let manifest = read(&least).unwrap();
    assert!(manifest.capabilities.is_empty() && manifest.egress.is_empty() && manifest.ui.is_none());
    assert!(manifest.provides.is_empty() && manifest.requires.is_empty());
    assert_eq!(serde_json::to_value(&manifest).unwrap(), least);
}

#[test]
fn each_field_is_refused_where_it_is_wrong() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let long = "a".repeat(260);
    for (pointer, value, expected) in [
        ("/name", json!("hello"), "InvalidField"),
        ("/name", json!("com.Example.hello"), "InvalidField"),
        ("/name", json!(format!("com.{}", ["a"; 100].join("."))), "InvalidField"),
        ("/name", json!(7), "InvalidField"),
        ("/publisher", json!("Example Inc."), "InvalidField"),
        ("/version", json!("latest"), "InvalidField"),
        ("/version", json!("1.2"), "InvalidField"),
        ("/version", json!("1.0.0-RC.1"), "InvalidField"),
        ("/version", json!("1.0.1000000000"), "InvalidField"),
        ("/version", json!(format!("1.0.0-{}", "a".repeat(50))), "InvalidField"),
        ("/displayName", json!(""), "InvalidField"),
        ("/displayName", json!("a\u{202e}b"), "InvalidField"),
        ("/displayName", json!("a\nb"), "InvalidField"),
        ("/displayName", json!(null), "InvalidField"),
        ("/displayName", json!("a".repeat(129)), "InvalidField"),
        ("/capabilities/0", json!("Storage.KV"), "InvalidField"),
        ("/capabilities/1", json!("storage.kv"), "RepeatedItem"),
        ("/capabilities", json!(vec!["log"; 65]), "InvalidField"),
        ("/capabilities", json!("log"), "InvalidField"),
        ("/egress/0", json!("https://api.example.com"), "InvalidField"),
        ("/egress/0", json!("169.254.169.254"), "InvalidField"),
        ("/egress/0", json!("*"), "InvalidField"),
        ("/egress/1", json!("api.example.com"), "RepeatedItem"),
        ("/endpoints/0/method", json!("get"), "InvalidField"),
        ("/endpoints/0/method", json!("CONNECT"), "InvalidField"),
        ("/endpoints/0/path", json!("notes"), "InvalidField"),
        ("/endpoints/0/path", json!("/../notes"), "InvalidField"),
        ("/endpoints/0/path", json!("/.annex/lifecycle/setup"), "InvalidField"),
        ("/endpoints/0/path", json!("/.ANNEX"), "InvalidField"),
        ("/endpoints/0/handler", json!(""), "InvalidField"),
        ("/endpoints/0/handler", json!(long), "InvalidField"),
        ("/endpoints/1", json!({"method": "GET", "path": "/notes/{other}", "handler": "x"}), "RepeatedItem"),
        ("/ui/entry", json!("index.html"), "InvalidField"),
        ("/ui/entry", json!("ui/../main.wasm"), "InvalidField"),
        ("/ui/entry", json!("ui/"), "InvalidField"),
        ("/modules/0/name", json!("Mod"), "InvalidField"),
        ("/modules/0/version", json!("1"), "InvalidField"),
        ("/modules/0/digest", json!(digest.to_uppercase()), "InvalidField"),
        ("/modules/0/deprecated", json!("yes"), "InvalidField"),
        ("/modules/1/name", json!("notes"), "RepeatedItem"),
        ("/dependencies/0/extension", json!("com.example.hello"), "InvalidField"),
        ("/dependencies/0/version", json!("new"), "InvalidField"),
        ("/dependencies/0/version", json!(""), "InvalidField"),
        ("/dependencies/0/optional", json!(1), "InvalidField"),
        ("/dependencies/1/extension", json!("com.example.base"), "RepeatedItem"),
        ("/provides", json!("notes"), "InvalidField"),
        ("/provides", json!(vec![json!({"interface": "a", "version": "1.0.0"}); 65]), "InvalidField"),
        ("/provides/0/interface", json!("Notes"), "InvalidField"),
        ("/provides/0/interface", json!(""), "InvalidField"),
        ("/provides/0/interface", json!("a".repeat(65)), "InvalidField"),
        ("/provides/0/version", json!("^1"), "InvalidField"),
        ("/provides/0/version", json!(format!("1.0.0-{}", "a".repeat(60))), "InvalidField"),
        ("/provides/1/interface", json!("notes"), "RepeatedItem"),
        ("/requires", json!({}), "InvalidField"),
        ("/requires", json!(vec![json!({"interface": "a", "version": "1"}); 65]), "InvalidField"),
        ("/requires/0/interface", json!("com.example/users"), "InvalidField"),
        ("/requires/0/interface", json!("a".repeat(65)), "InvalidField"),
        ("/requires/0/version", json!("new"), "InvalidField"),
        ("/requires/0/version", json!(""), "InvalidField"),
        ("/requires/0/version", json!(vec![">=1"; 40].join(", ")), "InvalidField"),
        ("/requires/0/optional", json!("no"), "InvalidField"),
        ("/requires/1/interface", json!("users"), "RepeatedItem"),
        ("/lifecycle/install", json!("a b"), "InvalidField"),
        ("/limits/timeoutMs", json!(0), "InvalidField"),
        ("/limits/timeoutMs", json!(3_600_001), "InvalidField"),
        ("/limits/timeoutMs", json!(1.5), "InvalidField"),
        ("/limits/timeoutMs", json!("10s"), "InvalidField"),
        ("/limits/memoryMiB", json!(4097), "InvalidField"),
        ("/limits/concurrency", json!(-1), "InvalidField"),
        ("/parametersSchema", json!(true), "InvalidField"),
    ] {
        let mut manifest = full();
        *manifest.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        let error = read(&manifest).expect_err(&format!("{pointer} {value}"));
        assert_eq!(error.code(), expected, "{pointer} {value}: {error}");
        let named = if expected == "RepeatedItem" {
            pointer.trim_end_matches("/name").trim_end_matches("/extension").trim_end_matches("/interface")
        } else {
            pointer
        };
        assert!(error.to_string().starts_with(&format!("{named} ")), "{pointer} {value}: {error}");
    }
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    for (pointer, field) in [
        ("", "permissions"),
        ("/endpoints/0", "public"),
        ("/ui", "csp"),
        ("/modules/0", "path"),
        ("/dependencies/0", "url"),
        ("/provides/0", "optional"),
        ("/requires/0", "extension"),
        ("/lifecycle", "start"),
        ("/limits", "fuel"),
    ] {
        let mut manifest = full();
        manifest.pointer_mut(pointer).unwrap()[field] = json!(1);
        let error = read(&manifest).unwrap_err();
        assert_eq!(error.to_string(), format!("{pointer}/{field} is no known field; look for a misspelling"));
    }
}

#[test]
fn missing_fields_are_named() {
    for (pointer, field) in [
        ("", "name"),
        ("", "publisher"),
        ("", "version"),
        ("/endpoints/0", "method"),
        ("/endpoints/0", "path"),
        ("/endpoints/0", "handler"),
        ("/ui", "entry"),
        ("/modules/0", "digest"),
        ("/dependencies/0", "version"),
        ("/provides/0", "interface"),
        ("/provides/0", "version"),
        ("/requires/0", "interface"),
        ("/requires/0", "version"),
    ] {
        let mut manifest = full();
        manifest.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(field);
        assert_eq!(read(&manifest).unwrap_err().to_string(), format!("{pointer}/{field} is missing"));
    }
}

#[test]
fn as_many_interfaces_as_may_be_are_read_and_one_may_be_required_by_who_provides_it() {
    let mut manifest = full();
    let all: Vec<_> =
        (0..64).map(|number| json!({"interface": format!("i{number}"), "version": "1.0.0"})).collect();
    manifest["provides"] = json!(all);
    manifest["requires"] = json!(all);
    let read = read(&manifest).unwrap();
    assert_eq!((read.provides.len(), read.requires.len()), (64, 64));
    // The requirement is kept as it was written, the version as it was meant.
    assert_eq!((read.requires[63].version.as_str(), read.requires[63].optional), ("1.0.0", false));
    assert_eq!(read.provides[63].version, semver::Version::new(1, 0, 0));
}

#[test]
fn a_schema_that_leads_elsewhere_is_refused() {
    for reference in ["https://example.com/schema.json", "file:///etc/passwd", "other.json#/x", "//host/x"] {
        for key in ["$ref", "$dynamicRef"] {
            let mut manifest = full();
            manifest["parametersSchema"]["properties"]["x"] = json!({"anyOf": [{key: reference}]});
            let error = read(&manifest).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "/parametersSchema/properties/x/anyOf/0/{key} refers to something outside the schema"
                )
            );
        }
    }
    let mut inside = full();
    inside["parametersSchema"]["properties"]["x"] = json!({"$ref": "#/properties/greeting"});
    assert!(read(&inside).is_ok());
}

#[test]
fn gigantic_numbers_and_deep_nesting_are_refused_in_a_manifest() {
    let with = |schema: &str| {
        let text = format!(
            r#"{{"name":"com.example.hello","publisher":"example.com","version":"0.1.0","parametersSchema":{schema}}}"#
        );
        Manifest::from_json(text.as_bytes()).unwrap_err()
    };
    assert_eq!(with(r#"{"maximum":1e300}"#).code(), "NumberOutOfRange");
    assert_eq!(with(&format!(r#"{{"maximum":{}}}"#, "9".repeat(1000))).code(), "DocumentSyntax");
    assert_eq!(
        with(r#"{"maximum":9007199254740993}"#).to_string(),
        "/parametersSchema/maximum is a number beyond 2^53 - 1, which not every reader of JSON understands"
    );
    let deep = format!(r#"{}1{}"#, r#"{"a":"#.repeat(100), "}".repeat(100));
    assert_eq!(with(&deep).code(), "DocumentTooDeep");
    assert_eq!(with(&format!(r#"{{"a":{}"#, "[".repeat(200_000))).code(), "DocumentTooDeep");
    assert_eq!(with(r#"{"a":1,"a":2}"#).code(), "DuplicateKey");
    assert_eq!(Manifest::from_json(&vec![b' '; (256 << 10) + 1]).unwrap_err().code(), "DocumentTooLarge");
}

#[test]
fn the_published_schema_is_the_one_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/manifest.schema.json");
    let published: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(
        published,
        manifest_schema(),
        "run `cargo run -p annex-bundle --example manifest-schema > docs/manifest.schema.json`"
    );
}

#[test]
fn the_schema_knows_every_field() {
    // What the parser takes the schema shows: a full manifest has each field once.
    fn compare(schema: &Value, root: &Value, value: &Value, pointer: &str) {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema["anyOf"].get(0).map_or(schema, |first| match first["$ref"].as_str() {
                Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
                None => first,
            }),
        };
        match value {
            Value::Object(fields) if pointer != "/parametersSchema" => {
                assert_eq!(schema["additionalProperties"], json!(false), "{pointer}");
                let known = schema["properties"].as_object().unwrap();
                let mut names: Vec<_> = fields.keys().collect();
                let mut expected: Vec<_> = known.keys().collect();
                names.sort();
                expected.sort();
                assert_eq!(names, expected, "{pointer}");
                for (name, value) in fields {
                    compare(&known[name], root, value, &format!("{pointer}/{name}"));
                }
            }
            Value::Array(values) => compare(&schema["items"], root, &values[0], &format!("{pointer}/0")),
            _ => {}
        }
    }
    let schema = manifest_schema();
    compare(&schema, &schema, &full(), "");
    assert_eq!(schema["required"], json!(["name", "publisher", "version"]));
}
