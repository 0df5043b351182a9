//! The sample in JavaScript, made with the packages of its lock file.

use std::fs;

use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, executing},
    guests, node,
    world::{World, end},
};

fn file(name: &str) -> String {
    fs::read_to_string(guests::root().join("samples/hello-js").join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_in_javascript_answers_at_each_of_its_endpoints_and_what_is_not_granted_is_named() {
    let component = node::hello();
    let _turn = node::turn().await;
    let world = World::new().await;
    let manifest: Value = serde_json::from_str(&file("manifest.json")).unwrap();
    let hash = world.publish_as(&manifest, component, &[]);
    let mut gateway = Gateway::new(manifest["name"].as_str().unwrap(), &hash, &[]);
    gateway.limits.memory_mb = manifest["limits"]["memoryMiB"].as_u64().unwrap().try_into().unwrap();
    let runner = executing(&world, &[]).await;

    assert_eq!(manifest["capabilities"], json!(["context"]));
    let (status, error) = gateway.call(&runner, "GET", "/hello", "").await.unwrap_err();
    assert_eq!(
        (status.as_u16(), error.code.as_str(), error.message.as_str()),
        (403, "CapabilityDenied", "context")
    );

    gateway.capabilities = vec!["context"];
    let endpoints = manifest["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1);
    for (endpoint, expected) in endpoints.iter().zip([r#"{"greeting":"Hello, acme!"}"#]) {
        let (method, path) = (endpoint["method"].as_str().unwrap(), endpoint["path"].as_str().unwrap());
        let answer = gateway.call(&runner, method, path, "").await.unwrap();
        assert!(
            answer.headers.contains(&("content-type".into(), "application/json".into())),
            "{:?}",
            answer.headers
        );
        assert_eq!((answer.status, &answer.body_b64.unwrap().0[..]), (200, expected.as_bytes()));
        assert!(file("README.md").contains(expected), "README.md says what {path} answers");
    }
    for (method, path) in [("POST", "/hello"), ("GET", "/"), ("GET", "/hello/you")] {
        let (status, body) = gateway.told(&runner, method, path, "").await;
        assert_eq!((status, body.as_str()), (404, r#"{"error":"there is nothing here"}"#), "{method} {path}");
    }
    end(runner).await;
}

#[test]
fn the_lock_file_names_no_place() {
    let lock: Value = serde_json::from_str(&file("package-lock.json")).unwrap();
    let packages = lock["packages"].as_object().unwrap();
    let others: Vec<_> = packages.iter().filter(|(name, _)| !name.is_empty()).collect();
    assert!(others.len() > 50, "{}", others.len());
    for (name, package) in others {
        assert!(package["resolved"].is_null(), "{name}: samples/hello-js/.npmrc has npm leave it out");
        assert!(package["integrity"].is_string(), "{name} is not held to its content");
    }
}
