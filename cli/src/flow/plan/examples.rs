//! Whole outlooks, of objects as the API gives them.

use std::sync::Arc;

use annex_apis::{ExtensionVersion, Install};
use serde_json::{Value, json};

use super::outlook::Outlook;
use super::text::render;

const HASHES: [&str; 3] = ["0a", "0b", "0c"];

fn hash(of: &str) -> String {
    format!("sha256:{}", of.repeat(32))
}

/// A version of `com.example.NAME`, with this in its spec.
fn version(name: &str, version: &str, content: &str, spec: &Value) -> Arc<ExtensionVersion> {
    let mut object = json!({
        "apiVersion": "annex.sh/v1alpha1",
        "kind": "ExtensionVersion",
        "metadata": {"name": format!("com.example.{name}-{version}")},
        "spec": {
            "extension": format!("com.example.{name}"), "version": version, "contentHash": hash(content),
            "publisher": "example.com",
        },
        "status": {"conditions": [{
            "type": "Verified", "status": "True", "reason": "Verified", "message": "",
            "lastTransitionTime": "2026-11-03T12:00:00Z",
        }]},
    });
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    Arc::new(serde_json::from_value(object).unwrap())
}

fn module(name: &str, version: &str, digest: &str) -> Value {
    json!({"name": name, "version": version, "digest": hash(digest)})
}

/// Two versions of notes, of which the second changes a module, has a new one, and lets one go.
fn notes() -> Vec<Arc<ExtensionVersion>> {
    let mut old = module("old", "1.0.0", "03");
    let first = json!({
        "modules": [module("api", "1.0.0", "01"), module("same", "1.0.0", "02"), old.clone()],
        "lifecycle": {"install": "on-install", "uninstall": "on-uninstall"},
    });
    old["deprecated"] = json!(true);
    let second = json!({
        "modules": [module("api", "2.0.0", "04"), module("same", "1.0.0", "02"), module("new", "1.0.0", "05"), old],
        "lifecycle": {"upgrade": "on-upgrade"},
    });
    vec![version("notes", "1.0.0", HASHES[0], &first), version("notes", "2.0.0", HASHES[1], &second)]
}

fn install(name: &str, spec: &Value) -> Install {
    let mut object = json!({
        "apiVersion": "annex.sh/v1alpha1",
        "kind": "Install",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {"extension": format!("com.example.{name}"), "version": "*"},
    });
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

/// One that is there.
fn there(name: &str, version: &str, content: &str, spec: &Value) -> Install {
    let mut install = install(name, spec);
    let host = format!("acme--{name}.apps.localhost");
    let status = json!({
        "installedVersion": version, "installedFor": "1", "contentHash": hash(content), "host": host,
        "routes": [{"host": host, "contentHash": hash(content)}],
        "runnerRef": {"mode": "knative", "namespace": "annex-x", "name": "r"},
        "places": [{"namespace": "annex-x"}],
        "modules": [],
    });
    install.status = Some(serde_json::from_value(status).unwrap());
    install
}

fn notes_there(spec: &Value) -> Install {
    let mut install = there("notes", "1.0.0", HASHES[0], spec);
    let modules =
        json!([module("api", "1.0.0", "01"), module("same", "1.0.0", "02"), module("old", "1.0.0", "03")]);
    install.status.as_mut().unwrap().modules = serde_json::from_value(modules).unwrap();
    install
}

fn outlook(install: &Install, others: &[Install], versions: &[Arc<ExtensionVersion>]) -> Outlook {
    Outlook::of(install, others, versions, false).unwrap()
}

#[test]
fn a_first_install_names_no_place_and_no_host_that_is_not_known() {
    let outlook = outlook(&install("notes", &json!({"version": "1"})), &[], &notes());
    assert!(outlook.goes_ahead());
    assert_eq!(
        render(&outlook),
        "\
install/notes in namespace team
  Install of com.example.notes, none → 1.0.0

Stages:
  Resolve            chooses version 1.0.0
  Verify             sees that a trusted publisher signed its bytes
  CheckDependencies  sees that what it needs is there
  CheckQuota         sees that the tenant may have it
  Environment        makes a place ready
  Runner             has 1.0.0 ready on a runner
  DomainClaim        takes its host name
  DomainMapping      leads its host name to the runner
  Lifecycle/api      calls the install handler on-install of the module api (new in 1.0.0)
  Lifecycle/same     calls the install handler on-install of the module same (new in 1.0.0)
  Lifecycle/old      calls the install handler on-install of the module old (new in 1.0.0)
  Publish            1.0.0 answers on its host name
"
    );
}

#[test]
fn an_upgrade_calls_what_changes_and_lets_the_deprecated_go() {
    let outlook = outlook(&notes_there(&json!({})), &[], &notes());
    assert_eq!((outlook.from.as_deref(), outlook.to.as_deref()), (Some("1.0.0"), Some("2.0.0")));
    assert_eq!(
        render(&outlook),
        "\
install/notes in namespace team
  Upgrade of com.example.notes, 1.0.0 → 2.0.0

Stages:
  Resolve            chooses version 2.0.0
  Verify             sees that a trusted publisher signed its bytes
  CheckDependencies  sees that what it needs is there
  CheckQuota         sees that the tenant may have it
  Runner             has 2.0.0 ready on a runner (platform/annex-x)
  Lifecycle/api      calls the upgrade handler on-upgrade of the module api (1.0.0 → 2.0.0)
  Lifecycle/new      calls nobody: there is no install handler for the module new (new in 1.0.0)
  Publish            2.0.0 answers on acme--notes.apps.localhost
  Disable            the module old goes, without being called
  RemoveRunner       takes 1.0.0 off its runner (platform/annex-x)
"
    );
}

#[test]
fn nothing_to_do_is_said_and_goes_ahead() {
    let mut install = notes_there(&json!({"version": "1"}));
    let outlook = outlook(&install, &[install.clone()], &notes());
    assert_eq!((outlook.action, outlook.goes_ahead()), (None, true));
    assert_eq!(
        render(&outlook),
        "install/notes in namespace team\n  nothing to do: com.example.notes, 1.0.0\n"
    );
    let asked = annex_apis::REPROVISION_ANNOTATION.to_owned();
    install.metadata.annotations = Some([(asked, "now".to_owned())].into());
    let outlook = self::outlook(&install, &[], &notes());
    assert_eq!(outlook.action, Some("Reprovision"));
    assert!(!outlook.stages.iter().any(|stage| stage.name.starts_with("Lifecycle")), "{outlook:?}");
}

#[test]
fn a_revoke_says_who_needs_it_still_and_what_stays() {
    let mut versions = notes();
    let needs = json!({"dependencies": [{"extension": "com.example.notes", "version": "^1"}]});
    versions.push(version("shop", "1.0.0", HASHES[2], &needs));
    let notes = notes_there(&json!({}));
    let all = [notes.clone(), there("shop", "1.0.0", HASHES[2], &json!({}))];
    let outlook = Outlook::of(&notes, &all, &versions, true).unwrap();
    assert!(!outlook.goes_ahead());
    assert_eq!(outlook.action, Some("Revoke"));
    let text = render(&outlook);
    assert!(text.contains("\n  Revoke of com.example.notes, 1.0.0 → none\n"), "{text}");
    assert!(text.contains("calls the uninstall handler on-uninstall of the module api (1.0.0)\n"), "{text}");
    assert!(
        text.contains("\nBlocked:\n  com.example.shop needs it still: it needs com.example.notes ^1\n"),
        "{text}"
    );
    assert!(text.contains("Retain: what the extension stored stays\n"), "{text}");

    let purged = notes_there(&json!({"deletionPolicy": "Purge"}));
    let outlook = Outlook::of(&purged, &[], &versions, true).unwrap();
    let text = render(&outlook);
    assert!(outlook.goes_ahead() && text.contains("  Purge  "), "{text}");
    assert!(text.contains("of the module api (1.0.0, with what it stored)\n"), "{text}");
}

#[test]
fn an_upgrade_that_others_cannot_do_with_is_blocked_by_them() {
    let mut versions = notes();
    let needs = json!({"dependencies": [{"extension": "com.example.notes", "version": "^1"}]});
    versions.push(version("shop", "1.0.0", HASHES[2], &needs));
    let others = [there("shop", "1.0.0", HASHES[2], &json!({}))];
    let outlook = outlook(&notes_there(&json!({})), &others, &versions);
    assert_eq!(
        outlook.blocked,
        ["com.example.shop cannot do with that version: it needs com.example.notes ^1"]
    );
    assert_eq!(outlook.dependents.len(), 1);
}

#[test]
fn what_is_missing_is_waited_for_or_installed_along() {
    let needs = json!({"dependencies": [{"extension": "com.example.notes", "version": "^1"}]});
    let mut versions = notes();
    versions.push(version("shop", "1.0.0", HASHES[2], &needs));
    let manual = outlook(&install("shop", &json!({})), &[], &versions);
    assert_eq!(manual.blocked, ["com.example.notes ^1 is missing"]);
    let auto = outlook(&install("shop", &json!({"dependencies": "Auto"})), &[], &versions);
    assert!(auto.goes_ahead());
    let text = render(&auto);
    assert!(text.contains("\nIt needs:\n  com.example.notes ^1 is missing\n"), "{text}");
    assert!(text.contains("\nInstalled along:\n  com.example.notes 1.0.0 for com.example.shop\n"), "{text}");
    let with = outlook(&install("shop", &json!({})), &[notes_there(&json!({}))], &versions);
    assert!(with.goes_ahead() && with.dependencies[0].satisfied, "{with:?}");
    versions.retain(|version| version.spec.extension != "com.example.notes");
    let none = outlook(&install("shop", &json!({"dependencies": "Auto"})), &[], &versions);
    assert!(none.blocked[0].contains("the catalog has none"), "{none:?}");
}

#[test]
fn a_version_that_cannot_be_chosen_is_an_error_that_says_which_there_are() {
    let says = |spec: Value, versions: &[Arc<ExtensionVersion>]| {
        Outlook::of(&install("notes", &spec), &[], versions, false).unwrap_err()
    };
    let said = says(json!({"version": "3"}), &notes());
    assert_eq!(said, "no version of com.example.notes satisfies 3; the newest are 2.0.0, 1.0.0");
    assert!(says(json!({"version": "latest"}), &notes()).starts_with("spec.version: "));
    assert!(says(json!({}), &[]).contains("has no version of com.example.notes"));
}

#[test]
fn what_one_should_know_of_a_version_is_said() {
    let mut refused = version("notes", "1.0.0", HASHES[0], &json!({"deprecated": true}));
    Arc::get_mut(&mut refused).unwrap().status.as_mut().unwrap().conditions[0].status = "False".to_owned();
    let suspended = install("notes", &json!({"suspend": true}));
    let outlook = outlook(&suspended, &[install("notes", &json!({}))], &[refused]);
    assert_eq!(outlook.blocked, ["version 1.0.0 did not pass verification"]);
    assert_eq!(outlook.notes.len(), 2, "{outlook:?}");

    let mut rival = there("notes", "1.0.0", HASHES[0], &json!({}));
    rival.metadata.name = Some("other".to_owned());
    let outlook = self::outlook(&install("notes", &json!({})), &[rival], &notes());
    assert_eq!(outlook.blocked, ["install/other in namespace team has this extension"]);
}

#[test]
fn parameters_that_the_version_does_not_take_are_told_before_they_are_applied() {
    let schema = json!({"parametersSchema": {
        "type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"],
    }});
    let versions = [version("notes", "1.0.0", HASHES[0], &schema)];
    let of = |spec: Value| outlook(&install("notes", &spec), &[], &versions);
    assert!(of(json!({"parameters": {"colour": "red"}})).goes_ahead());
    let refused = of(json!({"parameters": {"colour": 7}}));
    assert!(refused.blocked[0].starts_with("its parameters are not what the version takes: "), "{refused:?}");
    assert!(!of(json!({})).goes_ahead());
    // What is installed already is handed no others either.
    let mut there = there("notes", "1.0.0", HASHES[0], &json!({"parameters": {"colour": 7}}));
    there.spec.version = "1.0.0".to_owned();
    assert!(!outlook(&there, &[there.clone()], &versions).goes_ahead());
    let from = of(json!({"parametersFrom": [{"name": "mail", "key": "json"}]}));
    assert!(from.goes_ahead() && from.notes[0].contains("spec.parametersFrom"), "{from:?}");
}

#[test]
fn of_two_that_wait_for_an_extension_the_older_gets_it() {
    let made = |name: &str, at: &str| {
        let mut install = install("notes", &json!({}));
        install.metadata.name = Some(name.to_owned());
        install.metadata.creation_timestamp = Some(serde_json::from_value(json!(at)).unwrap());
        install
    };
    let (old, new) = (made("old", "2026-11-03T12:00:00Z"), made("new", "2026-11-04T12:00:00Z"));
    let all = [old.clone(), new.clone()];
    assert!(outlook(&old, &all, &notes()).goes_ahead());
    assert_eq!(outlook(&new, &all, &notes()).blocked, ["install/old in namespace team has this extension"]);
}

#[test]
fn nothing_of_others_reaches_the_terminal_raw() {
    let hostile = json!({
        "modules": [{"name": "a\u{1b}[2Jb\nNote: c", "version": "1\u{202e}", "digest": hash("01")}],
        "lifecycle": {"install": "h\u{9b}i"},
    });
    let mut install = install("notes", &json!({}));
    install.metadata.namespace = Some("te\u{1b}am".to_owned());
    let outlook = outlook(&install, &[], &[version("notes", "1.0.0", HASHES[0], &hostile)]);
    let (text, json) = (render(&outlook), serde_json::to_value(&outlook).unwrap().to_string());
    for bad in ['\u{1b}', '\u{202e}', '\u{9b}'] {
        assert!(!text.contains(bad) && !json.contains(bad), "{text}");
    }
    assert!(text.contains("  Lifecycle/a [2Jb Note: c  calls the install handler h i"), "{text}");
}

#[test]
fn json_has_the_same_in_fields() {
    let outlook =
        serde_json::to_value(outlook(&notes_there(&json!({"version": "1"})), &[], &notes())).unwrap();
    assert_eq!(
        outlook,
        json!({
            "namespace": "team", "name": "notes", "extension": "com.example.notes",
            "action": null, "from": "1.0.0", "to": "1.0.0",
            "stages": [], "blocked": [], "dependencies": [], "along": [], "dependents": [], "notes": [],
        })
    );
}
