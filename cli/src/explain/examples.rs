//! Whole reports, of objects as the API gives them.

use jiff::Timestamp;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::kubectl::Kubectl;
use super::report::Report;
use super::target::Kind;
use super::text::render;

const SINCE: &str = "2026-11-23T11:57:00Z";

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn kubectl() -> Kubectl {
    Kubectl::new(None, None, "https://kcp:6443/clusters/root:acme")
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": SINCE})
}

fn install(conditions: &[Value]) -> Value {
    json!({
        "apiVersion": "annex.sh/v1alpha1",
        "kind": "Install",
        "metadata": {"name": "hello", "namespace": "default", "generation": 2},
        "spec": {"extension": "com.example.hello", "version": "^1"},
        "status": {"observedGeneration": 2, "conditions": conditions},
    })
}

fn ready_install() -> Value {
    let mut object = install(&[
        condition("Ready", "True", "Ready", ""),
        condition("Installed", "True", "Installed", ""),
        condition("RunnerReady", "True", "RunnerAnswers", ""),
        condition("DomainReady", "True", "DomainAnswers", ""),
        condition("EnvironmentReady", "True", "PlatformCompute", ""),
        condition("Verified", "False", "UnsignedAllowed", "unsigned, and the operator allows it"),
        condition("Resolved", "True", "Resolved", ""),
    ]);
    object["status"]["installedVersion"] = json!("1.2.3");
    object["status"]["url"] = json!("http://acme--hello.apps.localhost:8080");
    object
}

/// An install with this reason on this condition, and all before it true.
fn broken(kind: &str, reason: &str, message: &str) -> Value {
    let mut conditions = Vec::new();
    for earlier in ["Resolved", "Verified", "EnvironmentReady", "DomainReady", "RunnerReady", "Installed"] {
        if earlier == kind {
            break;
        }
        conditions.push(condition(earlier, "True", earlier, ""));
    }
    conditions.push(condition(kind, "False", reason, message));
    conditions.push(condition("Ready", "False", reason, message));
    install(&conditions)
}

fn report_of(object: Value, kind: Kind) -> Report {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    Report::of(&object, kind, &kubectl())
}

fn report(object: Value) -> Report {
    report_of(object, Kind::Install)
}

#[test]
fn a_ready_one() {
    let report = report(ready_install());
    assert!(report.ready);
    assert_eq!(
        render(&report, now()),
        "\
install/hello in namespace default
  extension  com.example.hello
  version    1.2.3 (asked for: ^1)
  ready      yes
  url        http://acme--hello.apps.localhost:8080

  ✓ Resolved          Resolved, since 3m
  ✗ Verified          UnsignedAllowed, since 3m
      unsigned, and the operator allows it
  ✓ EnvironmentReady  PlatformCompute, since 3m
  ✓ DomainReady       DomainAnswers, since 3m
  ✓ RunnerReady       RunnerAnswers, since 3m
  ✓ Installed         Installed, since 3m
  ✓ Ready             Ready, since 3m

Next: open it
  curl -i http://acme--hello.apps.localhost:8080
"
    );
}

#[test]
fn a_broken_one() {
    let message = "the catalog has no extension com.example.hello";
    let report = report(broken("Resolved", "ExtensionNotFound", message));
    assert!(!report.ready);
    assert_eq!(
        render(&report, now()),
        "\
install/hello in namespace default
  extension  com.example.hello
  version    none yet (asked for: ^1)
  ready      no, ExtensionNotFound

  ✗ Resolved  ExtensionNotFound, since 3m
      the catalog has no extension com.example.hello
  ✗ Ready     ExtensionNotFound, since 3m
      the catalog has no extension com.example.hello

Next: find the right name in the provider's catalog; spec.extension cannot be changed, so delete this install and \
apply one with that name
  kubectl get extensions.annex.sh --server https://kcp:6443/clusters/root:annex
"
    );
}

#[test]
fn one_that_is_under_way() {
    let report = report(install(&[
        condition("Resolved", "True", "Resolved", ""),
        condition("RunnerReady", "Unknown", "Waiting", "asking the runner"),
        condition("Ready", "Unknown", "Waiting", "asking the runner"),
    ]));
    let text = render(&report, now());
    assert!(text.contains("  … RunnerReady  Waiting, since 3m\n      asking the runner\n"), "{text}");
    assert_eq!(report.next.command, "kubectl events --for install/hello -n default");
}

#[test]
fn each_reason_has_its_command() {
    let watch = "kubectl get install/hello --watch -n default";
    let edit = "kubectl edit install/hello -n default";
    for (kind, reason, command) in [
        (
            "Resolved",
            "NoMatchingVersion",
            "kubectl get extensionversions.annex.sh --server https://kcp:6443/clusters/root:annex",
        ),
        ("Resolved", "InvalidVersion", edit),
        ("Resolved", "AlreadyInstalled", "kubectl get installs.annex.sh --all-namespaces"),
        (
            "Resolved",
            "Suspended",
            r#"kubectl patch install/hello --type=merge --patch '{"spec":{"suspend":false}}' -n default"#,
        ),
        ("Resolved", "TenantSuspended", watch),
        ("Resolved", "ExtensionNotAllowed", watch),
        ("Resolved", "SecretNotFound", "kubectl label secret NAME annex.sh/managed=true -n default"),
        ("Resolved", "ParametersInvalid", edit),
        ("Resolved", "ClaimsNotAccepted", "kubectl edit apibinding annex.sh"),
        ("Verified", "Unsigned", edit),
        ("Verified", "VerificationFailed", edit),
        ("Verified", "RegistryUnavailable", watch),
        ("EnvironmentReady", "EnvironmentNotFound", "kubectl get managedenvironments.annex.sh -n default"),
        ("EnvironmentReady", "NamespaceRequired", "kubectl get managedenvironments.annex.sh -n default"),
        ("EnvironmentReady", "ComputeUnreachable", watch),
        ("DomainReady", "ClaimMissing", watch),
        ("EnvironmentReady", "TooManyEnvironments", "kubectl get managedenvironments.annex.sh -n default"),
        ("RunnerReady", "Provisioning", watch),
        ("RunnerReady", "RunnerNotReady", watch),
        ("RunnerReady", "RunnerUnreachable", watch),
        ("DomainReady", "DomainConflict", watch),
        ("DomainReady", "DomainInvalid", watch),
        ("DomainReady", "DomainNotAnswering", "kubectl events --for install/hello -n default"),
        ("Installed", "LifecycleFailed", "kubectl annex history install/hello -n default"),
        ("Installed", "CapabilityDenied", "kubectl annex history install/hello -n default"),
        ("Installed", "Timeout", "kubectl annex history install/hello -n default"),
        ("Installed", "RunnerUnavailable", "kubectl annex history install/hello -n default"),
        ("Installed", "RunnerNotReachable", "kubectl annex history install/hello -n default"),
        ("Resolved", "DependencyMissing", "kubectl annex plan install/hello -n default"),
        ("Resolved", "DependencyNotReady", "kubectl get installs.annex.sh --all-namespaces"),
        ("Resolved", "DependencyCycle", "kubectl get installs.annex.sh --all-namespaces"),
        ("Resolved", "InstallingDependencies", "kubectl get installs.annex.sh --all-namespaces --watch"),
        ("Resolved", "BreaksDependents", "kubectl annex plan install/hello -n default"),
        ("Installed", "HasDependents", "kubectl annex plan install/hello --delete -n default"),
        ("Installed", "StorageNotRemoved", watch),
        ("Installed", "SomethingNew", "kubectl events --for install/hello -n default"),
    ] {
        assert_eq!(report(broken(kind, reason, "")).next.command, command, "{reason}");
    }
}

#[test]
fn the_first_that_is_not_true_decides() {
    let report = report(install(&[
        condition("Ready", "False", "RunnerUnreachable", ""),
        condition("RunnerReady", "False", "RunnerUnreachable", ""),
        condition("Resolved", "Unknown", "ClaimsNotAccepted", ""),
    ]));
    assert_eq!(report.next.command, "kubectl edit apibinding annex.sh");
}

#[test]
fn a_domain_that_does_not_answer_is_asked() {
    let mut object = broken("DomainReady", "DomainNotAnswering", "");
    object["status"]["url"] = json!("https://acme--hello.apps.example.com");
    assert_eq!(report(object).next.command, "curl -i https://acme--hello.apps.example.com");
}

#[test]
fn a_url_that_is_none_is_not_given_to_a_shell() {
    let mut object = ready_install();
    object["status"]["url"] = json!("-o /etc/passwd file:///etc/shadow");
    assert_eq!(report(object).next.command, "kubectl get install/hello -o yaml -n default");
    let mut object = ready_install();
    object["status"]["url"] = json!("http://x/$(reboot)");
    assert_eq!(report(object).next.command, "curl -i 'http://x/$(reboot)'");
}

#[test]
fn the_secret_that_is_meant_is_named() {
    let with = |secrets: Value, message: &str| {
        let mut object = broken("Resolved", "SecretNotFound", message);
        object["spec"]["secrets"] = secrets;
        report(object).next.command
    };
    let label = |name: &str| format!("kubectl label secret {name} annex.sh/managed=true -n default");
    let (one, two) = (json!([{"name": "db"}]), json!([{"name": "db"}, {"name": "db-password"}]));
    assert_eq!(with(one, ""), label("db"));
    assert_eq!(with(two.clone(), "Secret db-password is not there."), label("db-password"));
    assert_eq!(with(two.clone(), r#"no labelled Secret "db"."#), label("db"));
    assert_eq!(with(two, "a Secret is missing"), label("NAME"));

    let mut object = broken("Resolved", "SecretNotFound", "");
    object["spec"]["parametersFrom"] =
        json!([{"name": "params", "key": "a"}, {"name": "params", "key": "b"}]);
    assert_eq!(report(object).next.command, label("params"));
}

#[test]
fn an_environment_that_is_not_ready_is_explained() {
    let mut object = broken("EnvironmentReady", "EnvironmentNotReady", "");
    object["spec"]["environmentRef"] = json!({"name": "mine"});
    assert_eq!(report(object).next.command, "kubectl annex explain managedenvironment/mine -n default");
}

#[test]
fn a_change_that_was_not_seen_is_told() {
    let mut object = ready_install();
    object["metadata"]["generation"] = json!(3);
    let report = report(object);
    assert!(!report.ready, "what is Ready is not what is asked for");
    let text = render(&report, now());
    assert!(text.contains("\nNote: the controller has not seen the last change yet\n"), "{text}");
    assert!(text.contains("  ready      no\n"), "{text}");
    assert_eq!(report.next.command, "kubectl get install/hello --watch -n default");
}

#[test]
fn one_that_nobody_looked_at() {
    let mut without_status = install(&[]);
    without_status.as_object_mut().unwrap().remove("status");
    for object in [install(&[]), without_status] {
        let report = report(object);
        assert!(!report.ready);
        assert_eq!(
            render(&report, now()),
            "\
install/hello in namespace default
  extension  com.example.hello
  version    none yet (asked for: ^1)
  ready      no

Note: no controller has looked at it: is the API bound?

Next: see whether this workspace's binding of the API is Bound, and with which claims
  kubectl get apibinding annex.sh -o yaml
"
        );
    }
}

#[test]
fn one_that_is_being_deleted() {
    let mut object = ready_install();
    object["metadata"]["deletionTimestamp"] = json!(SINCE);
    object["metadata"]["finalizers"] = json!(["annex.sh/install"]);
    let report = report(object);
    assert!(!report.ready);
    assert_eq!(report.notes, ["it is being deleted, held by the finalizers: annex.sh/install"]);
    assert_eq!(report.next.command, "kubectl events --for install/hello -n default");
}

#[test]
fn a_deletion_that_waits_says_for_what() {
    for (reason, command) in [
        ("HasDependents", "kubectl annex plan install/hello --delete -n default"),
        ("Uninstalling", "kubectl events --for install/hello -n default"),
        ("DependencyMissing", "kubectl events --for install/hello -n default"),
    ] {
        let mut object = broken("Installed", reason, "others need it: shop");
        object["metadata"]["deletionTimestamp"] = json!(SINCE);
        assert_eq!(report(object).next.command, command, "{reason}");
    }
    let mut object = install(&[
        condition("Installed", "False", "LifecycleFailed", "before it was deleted"),
        condition("Ready", "False", "Uninstalling", ""),
    ]);
    object["metadata"]["deletionTimestamp"] = json!(SINCE);
    assert_eq!(report(object).next.command, "kubectl events --for install/hello -n default");
}

#[test]
fn a_managed_environment() {
    let environment = |reason: &str, status: &str| {
        json!({
            "apiVersion": "annex.sh/v1alpha1",
            "kind": "ManagedEnvironment",
            "metadata": {"name": "workspace", "namespace": "annex"},
            "spec": {"apiURL": "https://kcp:6443/clusters/root:acme", "credentialsSecretRef": {"name": "kubeconfig"}},
            "status": {"conditions": [
                condition("KnativeAvailable", "Unknown", "Waiting", ""),
                condition("Ready", status, reason, ""),
            ]},
        })
    };
    let ready = report_of(environment("Ready", "True"), Kind::ManagedEnvironment);
    assert!(ready.ready);
    let text = render(&ready, now());
    assert!(
        text.starts_with("managedenvironment/workspace in namespace annex\n  ready      yes\n"),
        "{text}"
    );
    assert!(text.contains("  url        https://kcp:6443/clusters/root:acme\n"), "{text}");

    let broken = report_of(environment("SecretNotFound", "False"), Kind::ManagedEnvironment);
    assert_eq!(broken.next.command, "kubectl label secret kubeconfig annex.sh/managed=true -n annex");
    for (reason, command) in [
        ("SecretTypeInvalid", "kubectl delete secret kubeconfig -n annex"),
        ("KubeconfigFieldRefused", "kubectl edit secret kubeconfig -n annex"),
        ("CredentialsRejected", "kubectl edit secret kubeconfig -n annex"),
        ("TooManyEnvironments", "kubectl get managedenvironments.annex.sh --all-namespaces"),
        ("NamespaceNotFound", "kubectl edit managedenvironment/workspace -n annex"),
        ("AddressRefused", "kubectl get managedenvironment/workspace --watch -n annex"),
        ("Unreachable", "kubectl get managedenvironment/workspace --watch -n annex"),
    ] {
        let broken = report_of(environment(reason, "False"), Kind::ManagedEnvironment);
        assert_eq!(broken.next.command, command, "{reason}");
    }
}

#[test]
fn nothing_of_others_reaches_the_terminal_raw() {
    let text = render(&report(broken("Resolved", "SecretNotFound", "a\u{1b}[2Jb\nNext: rm -rf /")), now());
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.contains("      a [2Jb Next: rm -rf /\n"), "{text}");
}

#[test]
fn json_has_the_same_in_fields() {
    let json =
        serde_json::to_value(report(broken("Resolved", "InvalidVersion", "latest is no version"))).unwrap();
    assert_eq!(
        json,
        json!({
            "type": "install",
            "namespace": "default",
            "name": "hello",
            "ready": false,
            "reason": "InvalidVersion",
            "extension": "com.example.hello",
            "requestedVersion": "^1",
            "notes": [],
            "conditions": [
                {"type": "Resolved", "status": "False", "reason": "InvalidVersion", "message": "latest is no version", "since": SINCE},
                {"type": "Ready", "status": "False", "reason": "InvalidVersion", "message": "latest is no version", "since": SINCE},
            ],
            "next": {
                "advice": "set spec.version to a semver requirement such as * or ^1.2",
                "command": "kubectl edit install/hello -n default",
            },
        })
    );
}
