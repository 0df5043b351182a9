use super::{cursor::Overtaken, *};
use crate::form::Form;

fn config_map(cluster: &str, name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "default", "name": name, "annotations": {CLUSTER_ANNOTATION: cluster}},
        "data": {"value": value},
    })
}

fn labelled(name: &str, label: &str) -> Value {
    let mut object = config_map("a", name, "");
    object["metadata"]["labels"] = json!({"app": label});
    object
}

fn key(cluster: &str, name: &str) -> Key {
    Key::new(cluster, "default", name)
}

fn store() -> Store {
    Store::new("home", 0)
}

fn config_maps(store: &Store) -> &Resource {
    store.resource("", "configmaps").unwrap()
}

fn page(
    store: &Store,
    scope: Scope,
    options: &ListOptions,
) -> Result<(Vec<String>, Option<Key>, u64), Status> {
    let (page, revision) = store.list(config_maps(store), &Selection::all_of(scope), options)?;
    let named = |object: &Arc<Object>| {
        let value = &object.fields()["data"]["value"];
        format!("{}/{}={}", object.key.cluster, object.key.name, value.as_str().unwrap())
    };
    Ok((page.objects.iter().map(named).collect(), page.more_after, revision))
}

fn all(store: &Store) -> Vec<String> {
    page(store, Scope::Everything, &ListOptions::default()).unwrap().0
}

/// Type, name and resourceVersion of what a watch reads.
fn read(store: &Store, cursor: &mut Cursor, selection: &Selection) -> Vec<String> {
    let mut lines = Vec::new();
    cursor.read(config_maps(store), selection, Form::Whole, usize::MAX, &mut lines).unwrap();
    let said = |line: &Bytes| match serde_json::from_slice::<Value>(line) {
        Ok(event) => {
            let metadata = &event["object"]["metadata"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            format!(
                "{} {} {}",
                text(&event["type"]),
                text(&metadata["name"]),
                text(&metadata["resourceVersion"])
            )
        }
        Err(_) => String::from_utf8_lossy(line).into_owned(),
    };
    lines.iter().map(said).collect()
}

#[test]
fn each_change_is_a_revision_and_a_list_shows_the_last() {
    let mut store = store();
    let first = store.put(config_map("b", "x", "1")).unwrap();
    assert_eq!(store.put(config_map("a", "x", "2")).unwrap(), first + 1);
    assert_eq!(store.put(config_map("b", "x", "3")).unwrap(), first + 2);
    assert!(store.remove("configmaps", &key("a", "x")));
    assert!(!store.remove("configmaps", &key("a", "x")));
    assert_eq!(store.revision(), first + 3);
    assert_eq!(all(&store), ["b/x=3"]);
}

#[test]
fn what_is_put_keeps_its_uid_and_says_where_it_is() {
    let mut store = store();
    store.put(config_map("a", "x", "1")).unwrap();
    let metadata = |store: &Store| config_maps(store).get(&key("a", "x")).unwrap().metadata_fields();
    let first = metadata(&store);
    assert!(first["uid"].is_string() && first["creationTimestamp"].is_string());
    assert_eq!(first["annotations"][CLUSTER_ANNOTATION], "a");
    store.put(config_map("a", "x", "2")).unwrap();
    assert_eq!(metadata(&store)["uid"], first["uid"]);
    store.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})).unwrap();
    let namespace = store.resource("", "namespaces").unwrap().get(&Key::new("home", "", "n")).unwrap();
    assert_eq!(namespace.metadata_fields()["annotations"][CLUSTER_ANNOTATION], "home");
    assert_ne!(namespace.metadata_fields()["uid"], first["uid"]);
}

#[test]
fn what_does_not_say_what_it_is_cannot_be_put() {
    let mut store = store();
    assert!(matches!(store.put(json!({"kind": "ConfigMap"})), Err(Invalid::Nameless)));
    let mut object = config_map("a", "x", "");
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    assert!(matches!(store.put(object), Err(Invalid::Namespace { .. })));
    assert_eq!(store.revision(), 100);
}

#[test]
fn another_version_of_a_kind_takes_its_place() {
    let mut store = store();
    let versioned = |version: &str| json!({"apiVersion": format!("annex.sh/{version}"), "kind": "Install", "metadata": {"namespace": "n", "name": version}});
    store.put(versioned("v1alpha1")).unwrap();
    store.put(json!({"apiVersion": "v1", "kind": "Other", "metadata": {"name": "x"}})).unwrap();
    store.put(versioned("v1")).unwrap();
    let installs = store.resource("annex.sh", "installs").unwrap();
    assert_eq!((installs.kind.version.as_str(), installs.objects.len()), ("v1", 2));
}

#[test]
fn a_list_is_read_in_pages_that_show_one_revision() {
    let mut store = store();
    for name in ["a", "b", "c", "d", "e"] {
        store.put(config_map("one", name, "1")).unwrap();
    }
    let options = |after, at| ListOptions { limit: Some(2), after, at, not_older_than: None };
    let (first, after, revision) = page(&store, Scope::Everything, &options(None, None)).unwrap();
    assert_eq!(first, ["one/a=1", "one/b=1"]);
    // None of these is in the list as it was.
    store.put(config_map("one", "c", "2")).unwrap();
    store.put(config_map("one", "c", "3")).unwrap();
    store.put(config_map("one", "cc", "1")).unwrap();
    store.put(config_map("one", "a", "2")).unwrap();
    store.remove("configmaps", &key("one", "d"));
    let (second, after, _) = page(&store, Scope::Everything, &options(after, Some(revision))).unwrap();
    assert_eq!(second, ["one/c=1", "one/d=1"]);
    let (third, after, of) = page(&store, Scope::Everything, &options(after, Some(revision))).unwrap();
    assert_eq!((third, after, of), (vec!["one/e=1".to_owned()], None, revision));
    assert_eq!(all(&store), ["one/a=2", "one/b=1", "one/c=3", "one/cc=1", "one/e=1"]);
}

#[test]
fn a_page_of_what_was_forgotten_is_gone() {
    let mut store = store();
    for name in ["a", "b", "c"] {
        store.put(config_map("one", name, "1")).unwrap();
    }
    let options = ListOptions { limit: Some(1), ..ListOptions::default() };
    let (_, after, revision) = page(&store, Scope::Everything, &options).unwrap();
    let next = ListOptions { after, at: Some(revision), ..options };
    assert!(page(&store, Scope::Everything, &next).is_ok());
    store.put(config_map("one", "d", "1")).unwrap();
    store.compact();
    assert_eq!(page(&store, Scope::Everything, &next).unwrap_err().code, 410);
}

#[test]
fn a_list_cannot_show_the_future() {
    let store = store();
    let options = ListOptions { not_older_than: Some(store.revision() + 1), ..ListOptions::default() };
    assert_eq!(page(&store, Scope::Everything, &options).unwrap_err().code, 504);
}

#[test]
fn a_scope_is_a_cluster_or_a_namespace_of_it() {
    let mut store = store();
    for cluster in ["a", "aa", "b"] {
        store.put(config_map(cluster, "x", "1")).unwrap();
    }
    let mut elsewhere = config_map("a", "y", "1");
    elsewhere["metadata"]["namespace"] = "other".into();
    store.put(elsewhere).unwrap();
    let of = |scope| page(&store, scope, &ListOptions::default()).unwrap().0;
    assert_eq!(of(Scope::Cluster("a".into())), ["a/x=1", "a/y=1"]);
    assert_eq!(of(Scope::Namespace("a".into(), "other".into())), ["a/y=1"]);
    assert_eq!(of(Scope::Everything), ["a/x=1", "a/y=1", "aa/x=1", "b/x=1"]);
}

#[test]
fn a_watch_says_what_came_after_its_revision() {
    let mut store = store();
    store.put(config_map("a", "before", "")).unwrap();
    let from = store.revision();
    store.put(config_map("a", "x", "1")).unwrap();
    store.put(config_map("a", "x", "2")).unwrap();
    store.remove("configmaps", &key("a", "x"));
    let everything = Selection::all_of(Scope::Everything);
    let mut cursor = store.watch_after(config_maps(&store), from).unwrap();
    assert_eq!(read(&store, &mut cursor, &everything), ["ADDED x 102", "MODIFIED x 103", "DELETED x 104"]);
    assert_eq!(read(&store, &mut cursor, &everything), [""; 0]);
    store.put(config_map("b", "y", "1")).unwrap();
    let elsewhere = Selection::all_of(Scope::Cluster("a".into()));
    assert_eq!(read(&store, &mut cursor.clone(), &elsewhere), [""; 0]);
    assert_eq!(read(&store, &mut cursor, &everything), ["ADDED y 105"]);
}

#[test]
fn what_enters_a_selection_is_added_and_what_leaves_it_is_deleted() {
    let mut store = store();
    let mut selection = Selection::all_of(Scope::Everything);
    selection.labels = label_selector("app=web").unwrap();
    let mut cursor = store.watch_after(config_maps(&store), store.revision()).unwrap();
    store.put(labelled("x", "db")).unwrap();
    store.put(labelled("x", "web")).unwrap();
    store.put(labelled("x", "web")).unwrap();
    store.put(labelled("x", "db")).unwrap();
    store.put(labelled("x", "db")).unwrap();
    store.remove("configmaps", &key("a", "x"));
    assert_eq!(read(&store, &mut cursor, &selection), ["ADDED x 102", "MODIFIED x 103", "DELETED x 104"]);
}

#[test]
fn a_watch_of_what_was_forgotten_is_gone_but_an_open_one_goes_on() {
    let mut store = store();
    let everything = Selection::all_of(Scope::Everything);
    let old = store.revision();
    let mut open = store.watch_after(config_maps(&store), old).unwrap();
    store.put(config_map("a", "x", "1")).unwrap();
    store.compact();
    assert_eq!(store.watch_after(config_maps(&store), old).unwrap_err().code, 410);
    assert!(store.watch_after(config_maps(&store), store.revision()).is_ok());
    assert_eq!(read(&store, &mut open, &everything), ["ADDED x 101"]);
    store.put(config_map("a", "x", "2")).unwrap();
    store.put(config_map("a", "x", "3")).unwrap();
    store.keep_history(1);
    let overtaken = open.read(config_maps(&store), &everything, Form::Whole, usize::MAX, &mut Vec::new());
    assert_eq!(overtaken, Err(Overtaken));
    assert_eq!(store.watch_after(config_maps(&store), 101).unwrap_err().code, 410);
}

#[test]
fn a_line_is_said_to_the_watches_that_are_open() {
    let mut store = store();
    let everything = Selection::all_of(Scope::Everything);
    let from = store.revision();
    let mut open = store.watch_after(config_maps(&store), from).unwrap();
    store.put(config_map("a", "x", "1")).unwrap();
    store.say("configmaps", &Bytes::from_static(b"nonsense"));
    store.put(config_map("a", "y", "1")).unwrap();
    assert_eq!(read(&store, &mut open, &everything), ["ADDED x 101", "nonsense", "ADDED y 102"]);
    let mut later = store.watch_after(config_maps(&store), from).unwrap();
    assert_eq!(read(&store, &mut later, &everything), ["ADDED x 101", "ADDED y 102"]);
}

#[test]
fn metadata_is_all_that_a_watch_for_it_says() {
    let mut store = store();
    let mut cursor = store.watch_after(config_maps(&store), store.revision()).unwrap();
    store.put(config_map("a", "x", "secret")).unwrap();
    let mut lines = Vec::new();
    let everything = Selection::all_of(Scope::Everything);
    cursor.read(config_maps(&store), &everything, Form::Metadata, usize::MAX, &mut lines).unwrap();
    let event: Value = serde_json::from_slice(&lines[0]).unwrap();
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(event["object"]["metadata"]["name"], "x");
    assert_eq!(event["object"].as_object().unwrap().len(), 3);
}

mod writes {
    use super::*;

    fn install(spec: i64) -> Value {
        json!({"apiVersion": "annex.sh/v1", "kind": "Install", "metadata": {"name": "x", "namespace": "default"},
            "spec": {"n": spec}})
    }

    struct Installs(Store);

    impl Installs {
        fn new() -> Self {
            let mut store = store();
            store.serve(Kind::new("annex.sh/v1", "Install"));
            Self(store)
        }

        fn create(&mut self, body: Value) -> Result<Value, Status> {
            let created = self.0.create("annex.sh", "installs", key("a", ""), body)?;
            Ok(Value::Object(created.fields()))
        }

        fn replace(&mut self, status_only: bool, body: Value) -> Result<Value, Status> {
            let replaced = self.0.replace("annex.sh", "installs", &key("a", "x"), status_only, body)?;
            Ok(Value::Object(replaced.fields()))
        }

        fn patch(&mut self, status_only: bool, patch: &Patch) -> Result<Value, Status> {
            let patched = self.0.patch("annex.sh", "installs", &key("a", "x"), status_only, patch)?;
            Ok(Value::Object(patched.fields()))
        }

        fn delete(&mut self, preconditions: &Preconditions) -> Result<Deletion, Status> {
            self.0.delete("annex.sh", "installs", &key("a", "x"), preconditions)
        }

        fn len(&self) -> usize {
            self.0.resource("annex.sh", "installs").unwrap().objects.len()
        }
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> (u16, String) {
        let status = result.unwrap_err();
        (status.code, status.to_value()["reason"].as_str().unwrap().to_owned())
    }

    fn refused(code: u16, reason: &str) -> (u16, String) {
        (code, reason.to_owned())
    }

    #[test]
    fn what_is_created_has_what_the_server_gives() {
        let mut installs = Installs::new();
        let mut body = install(1);
        body["status"] = json!({"forged": true});
        body["metadata"]["uid"] = "mine".into();
        let created = installs.create(body).unwrap();
        assert_eq!(created["metadata"]["resourceVersion"], "101");
        assert_eq!(created["metadata"]["generation"], 1);
        assert_eq!(created["metadata"]["annotations"][CLUSTER_ANNOTATION], "a");
        assert_ne!(created["metadata"]["uid"], "mine");
        assert!(created.get("status").is_none());
        assert_eq!(code(installs.create(install(1))), refused(409, "AlreadyExists"));
        let mut elsewhere = install(1);
        elsewhere["metadata"]["namespace"] = "other".into();
        assert_eq!(code(installs.create(elsewhere)), refused(400, "BadRequest"));
    }

    #[test]
    fn a_generated_name_is_a_new_one_each_time() {
        let mut installs = Installs::new();
        let body = json!({"metadata": {"generateName": "x-"}});
        let first = installs.create(body.clone()).unwrap();
        let second = installs.create(body).unwrap();
        assert!(first["metadata"]["name"].as_str().unwrap().starts_with("x-"));
        assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
    }

    #[test]
    fn of_two_writers_with_one_revision_the_second_conflicts() {
        let mut installs = Installs::new();
        let created = installs.create(install(1)).unwrap();
        let mut wanted = created.clone();
        wanted["spec"]["n"] = 2.into();
        let replaced = installs.replace(false, wanted.clone()).unwrap();
        assert_eq!(replaced["metadata"]["generation"], 2);
        assert_eq!(code(installs.replace(false, wanted)), refused(409, "Conflict"));
        let stale = json!({"metadata": {"resourceVersion": "101"}, "spec": {"n": 3}});
        assert_eq!(code(installs.patch(false, &Patch::Merge(stale))), refused(409, "Conflict"));
        assert_eq!(code(installs.replace(false, install(4))), refused(422, "Invalid"));
    }

    #[test]
    fn an_update_of_another_incarnation_conflicts() {
        let mut installs = Installs::new();
        let mut wanted = installs.create(install(1)).unwrap();
        wanted["metadata"]["uid"] = "former".into();
        assert_eq!(code(installs.replace(false, wanted)), refused(409, "Conflict"));
    }

    #[test]
    fn what_changes_nothing_is_no_event() {
        let mut installs = Installs::new();
        let created = installs.create(install(1)).unwrap();
        assert_eq!(installs.replace(false, created.clone()).unwrap(), created);
        assert_eq!(installs.patch(false, &Patch::Merge(json!({"spec": {"n": 1}}))).unwrap(), created);
        assert_eq!(installs.0.revision(), 101);
    }

    #[test]
    fn status_is_written_apart_from_the_rest() {
        let mut installs = Installs::new();
        let mut wanted = installs.create(install(1)).unwrap();
        wanted["status"] = json!({"ready": true});
        wanted["spec"]["n"] = 2.into();
        let by_status = installs.replace(true, wanted.clone()).unwrap();
        assert_eq!((&by_status["status"]["ready"], &by_status["spec"]["n"]), (&json!(true), &json!(1)));
        assert_eq!(by_status["metadata"]["generation"], 1);
        wanted["metadata"]["resourceVersion"] = by_status["metadata"]["resourceVersion"].clone();
        wanted["status"] = json!({"ready": false});
        let by_main = installs.replace(false, wanted).unwrap();
        assert_eq!((&by_main["status"]["ready"], &by_main["spec"]["n"]), (&json!(true), &json!(2)));
    }

    #[test]
    fn a_json_patch_whose_test_fails_is_invalid() {
        let mut installs = Installs::new();
        installs.create(install(1)).unwrap();
        let patch = |n: i64| {
            let operations = json!([{"op": "test", "path": "/spec/n", "value": n}, {"op": "replace", "path": "/spec/n", "value": 7}]);
            Patch::Json(serde_json::from_value(operations).unwrap())
        };
        assert_eq!(code(installs.patch(false, &patch(2))), refused(422, "Invalid"));
        assert_eq!(installs.patch(false, &patch(1)).unwrap()["spec"]["n"], 7);
    }

    #[test]
    fn a_finalizer_holds_a_deletion_and_its_removal_ends_it() {
        let mut installs = Installs::new();
        let mut body = install(1);
        body["metadata"]["finalizers"] = json!(["a/b"]);
        installs.create(body).unwrap();
        assert!(matches!(installs.delete(&Preconditions::default()).unwrap(), Deletion::Marked(_)));
        assert_eq!((installs.len(), installs.0.revision()), (1, 102));
        assert!(matches!(installs.delete(&Preconditions::default()).unwrap(), Deletion::Marked(_)));
        assert_eq!(installs.0.revision(), 102, "it was marked before");
        let revive = json!({"metadata": {"deletionTimestamp": null}});
        assert!(
            installs.patch(false, &Patch::Merge(revive)).unwrap()["metadata"]["deletionTimestamp"]
                .is_string()
        );
        let release = json!({"metadata": {"finalizers": null}});
        installs.patch(false, &Patch::Merge(release)).unwrap();
        assert_eq!(installs.len(), 0);
        assert_eq!(code(installs.delete(&Preconditions::default())), refused(404, "NotFound"));
    }

    #[test]
    fn a_deletion_of_another_incarnation_conflicts() {
        let mut installs = Installs::new();
        let created = installs.create(install(1)).unwrap();
        let wrong = Preconditions { uid: Some("former".into()), revision: None };
        assert_eq!(code(installs.delete(&wrong)), refused(409, "Conflict"));
        let wrong = Preconditions { uid: None, revision: Some("1".into()) };
        assert_eq!(code(installs.delete(&wrong)), refused(409, "Conflict"));
        let uid = created["metadata"]["uid"].as_str().map(str::to_owned);
        let right = Preconditions { uid, revision: Some("101".into()) };
        assert!(matches!(installs.delete(&right).unwrap(), Deletion::Gone(gone) if gone.revision == 102));
    }
}
