//! What is served, to whom, and what is shown of it.

use serde_json::json;

use crate::dev::Dev;
use crate::guests::{GUEST, Project};
use crate::http::ask;

const NOTES: &str = "/api/ext/com.example.notes/notes";

#[test]
fn the_sample_is_served_as_a_platform_would_and_notes_are_there_after_a_restart() {
    let project = Project::notes();
    let dev = Dev::start(project.path(), &[]);
    let said = dev.said();
    assert!(said.contains("granted      storage.kv, context, log"), "{said}");
    assert!(
        said.contains("Nobody is asked for a token here")
            && said.contains(&format!("Try: curl http://localhost:{}{NOTES}", dev.port)),
        "{said}"
    );

    let first = dev.get("/");
    assert_eq!(first.status, 307, "{first:?}");
    let page = dev.get(first.header("location").unwrap());
    assert_eq!((page.status, page.body.trim()), (200, project.read("ui/index.html").trim()));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );

    let note = json!({ "text": "buy milk" }).to_string();
    // A page that has a token shows it. Nobody knows it here, and nobody has to.
    let headers = [("content-type", "application/json"), ("authorization", "Bearer of-a-platform")];
    let saved = ask(dev.port, "POST", NOTES, &headers, &note);
    assert_eq!((saved.status, &saved.json()["text"]), (201, &json!("buy milk")));
    let (status, said) = dev.interrupt();
    assert_eq!(status.code(), Some(0), "{said}");

    let dev = Dev::start(project.path(), &[]);
    let listed = dev.get(NOTES);
    assert_eq!((listed.status, &listed.json()["notes"][0]["text"]), (200, &json!("buy milk")));
    assert_eq!(ask(dev.port, "GET", NOTES, &[("host", "notes.localhost")], "").status, 200);
    assert!(dev.said().contains(&format!("GET {NOTES} 200")), "{}", dev.said());
}

#[test]
fn pages_of_other_sites_and_other_names_reach_nothing() {
    let project = Project::notes();
    let dev = Dev::start(project.path(), &[]);
    let of = |headers: &[(&str, &str)]| ask(dev.port, "GET", NOTES, headers, "").status;
    assert_eq!(of(&[]), 200);
    assert_eq!(of(&[("origin", "https://evil.test")]), 403);
    assert_eq!(of(&[("sec-fetch-site", "cross-site")]), 403);
    // A name of theirs that leads to 127.0.0.1.
    assert_eq!(of(&[("host", "evil.test")]), 404);
}

#[test]
fn only_loopback_is_listened_on() {
    let project = Project::notes();
    let dev = Dev::start(project.path(), &[]);
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", dev.id()))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let sockets = ["tcp", "tcp6"]
        .map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    const LISTENS: &str = "0A";
    let listening: Vec<&str> = sockets
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words[3] == LISTENS && own.contains(&words[9].to_owned()))
        .map(|words| words[1].split(':').next().unwrap())
        .collect();
    // The public and the internal one of the runner, the registry, the gateway and its broker.
    assert_eq!(listening, ["0100007F"; 5]);
}

#[test]
fn what_a_guest_says_and_how_it_ends_is_shown() {
    let project = Project::obedient();
    let mut dev = Dev::start(project.path(), &[]);
    assert_eq!(dev.guest("/print?1").body, "printed");
    dev.says("guest info: line 0");
    let failed = dev.guest("/panic");
    assert_eq!((failed.status, &failed.json()["code"]), (502, &json!("ExtensionFailed")));
    // The author's own message, how the sandbox saw it, and what it came to.
    dev.says("as asked");
    dev.says("guest ended: wasm trap: ");
    dev.says("refused: GuestFailed (Trap: the extension failed: it gave up)");
    dev.says(&format!("GET /api/ext/{GUEST}/panic 502"));
}

#[test]
fn what_is_denied_is_not_linked() {
    let project = Project::obedient();
    let mut dev = Dev::start(project.path(), &["--deny", "secrets", "--deny", "time-travel"]);
    let denied = dev.guest("/hello");
    assert_eq!((denied.status, &denied.json()["code"]), (403, &json!("CapabilityDenied")));
    dev.says("refused: CapabilityDenied (secrets)");
    let said = dev.said();
    assert!(
        said.contains("not granted  secrets\n")
            && said.contains("--deny time-travel: the manifest does not ask for it"),
        "{said}"
    );
}

#[test]
fn parameters_and_secrets_reach_the_guest_and_no_secret_is_shown() {
    let project = Project::obedient();
    project.write("token", b"s3cr3t");
    let secret = format!("payments/token={}", project.at("token").display());
    let dev = Dev::start(project.path(), &["--secret", &secret, "--parameter", "colour=blue"]);
    let context = dev.guest("/context").body;
    assert!(
        context.ends_with(r#","colour":"blue"}"#) && context.contains(" dev com.example.guest 1.0.0 "),
        "{context}"
    );
    assert_eq!(dev.guest("/secret?payments").body, "s3cr3t");
    project.write("token", b"s3cr3t-anew");
    assert_eq!(dev.guest("/secret?payments").body, "s3cr3t-anew");
    assert_ne!(dev.guest("/secret?other").body, "s3cr3t");
    assert!(
        dev.guest("/fetch?api.example.com").body.contains("HttpRequestDenied"),
        "nothing is reached without --allow-egress"
    );
    let (_, said) = dev.interrupt();
    assert!(said.contains("secrets      payments/token") && !said.contains("s3cr3t"), "{said}");
}
