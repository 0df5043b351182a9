//! What `kubectl annex init` makes answers as its page expects; and the tests that guests to copy have pass.

use std::fs;

use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, executing},
    guests,
    world::{World, end},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_project_answers_at_its_endpoint_and_asks_for_nothing() {
    let template = fs::read_to_string(guests::root().join("cli/templates/manifest.json")).unwrap();
    let template = template
        .replace("{{name}}", "com.example.fresh")
        .replace("{{publisher}}", "example.com")
        .replace("{{title}}", "Fresh");
    let mut manifest: Value = serde_json::from_str(&template).unwrap();
    assert_eq!(
        manifest["endpoints"],
        json!([{ "method": "GET", "path": "/hello/{who}", "handler": "hello" }])
    );
    assert!(manifest["capabilities"].is_null());
    // Its pages are for the tests of the command.
    manifest.as_object_mut().unwrap().remove("ui");

    let world = World::new().await;
    let hash = world.publish_as(&manifest, &guests::new_projects_component(), &[]);
    let gateway = Gateway::new("com.example.fresh", &hash, &[]);
    let runner = executing(&world, &[]).await;
    let (status, body) = gateway.told(&runner, "GET", "/hello/J%C3%BCrgen", "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"greeting":"Hello, Jürgen!"}"#));
    assert_eq!(gateway.told(&runner, "GET", "/other", "").await.0, 404);
    end(runner).await;
}

#[test]
fn guests_that_are_to_be_copied_pass_their_own_tests() {
    for (folder, at_least) in
        [(guests::root().join("samples/notes/guest"), 8), (guests::new_project().to_owned(), 2)]
    {
        let passed = guests::own_tests(&folder);
        assert!(passed >= at_least, "{}: {passed}", folder.display());
    }
}
