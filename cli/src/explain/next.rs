//! The one thing to do next.

use annex_apis::MANAGED_LABEL;
use serde::Serialize;
use serde_json::Value;

use super::condition::{Condition, READY, first_failing};
use super::kubectl::Kubectl;
use super::target::Kind;
use crate::shell::quoted;

/// A sentence, and the command that goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Next {
    pub(crate) advice: String,
    pub(crate) command: String,
}

/// What the next step depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) kind: Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) spec: Option<&'a Value>,
    /// Where the extension opens.
    pub(crate) url: Option<&'a str>,
    pub(crate) conditions: &'a [Condition],
    pub(crate) unseen: bool,
    pub(crate) deleting: bool,
}

/// The most useful next step: that for the first condition that is not true.
pub(crate) fn next(situation: &Situation<'_>, kubectl: &Kubectl) -> Next {
    let step = Step { situation, kubectl };
    if situation.deleting {
        return step.let_go();
    }
    if situation.conditions.is_empty() && situation.kind == Kind::ManagedEnvironment {
        return step.events("see whether anything was said of it");
    }
    if situation.conditions.is_empty() {
        return step.of(
            "see whether this workspace's binding of the API is Bound, and with which claims",
            &["get", "apibinding", "annex.sh", "-o", "yaml"],
        );
    }
    match first_failing(situation.conditions) {
        Some(condition) => step.mend(condition),
        None if situation.unseen => step.watch("wait until the controller has seen the change"),
        None => step.enjoy(),
    }
}

struct Step<'a> {
    situation: &'a Situation<'a>,
    kubectl: &'a Kubectl,
}

impl Step<'_> {
    /// By reason. The reasons are the controller's; one that is not here gets the events.
    fn mend(&self, condition: &Condition) -> Next {
        match condition.reason.as_str() {
            "ExtensionNotFound" => self.of_catalog(
                "find the right name in the provider's catalog; spec.extension cannot be changed, so delete this \
                 install and apply one with that name",
                &["get", "extensions.annex.sh"],
            ),
            "NoMatchingVersion" => self.of_catalog(
                "see which versions the provider's catalog has, then set spec.version to fit one",
                &["get", "extensionversions.annex.sh"],
            ),
            "VersionWithdrawn" => self.of_catalog(
                "what is installed goes on; see which versions the provider's catalog has, then set spec.version to get one",
                &["get", "extensionversions.annex.sh"],
            ),
            "InvalidVersion" => self.edit("set spec.version to a semver requirement such as * or ^1.2"),
            "AlreadyInstalled" => self.of(
                "find the workspace's other install of this extension and delete one of the two",
                &["get", "installs.annex.sh", "--all-namespaces"],
            ),
            "Suspended" => self.of(
                "let it go on",
                &self.namespaced(&[
                    "patch",
                    &self.object(),
                    "--type=merge",
                    "--patch",
                    r#"{"spec":{"suspend":false}}"#,
                ]),
            ),
            "TenantSuspended" => {
                self.watch("ask the platform's operator, who suspended this tenant; it goes on by itself afterwards")
            }
            "ExtensionNotAllowed" => self.watch(
                "ask the platform's operator to allow this extension for you; it goes on by itself afterwards",
            ),
            "SecretNotFound" => self.label_secret(condition),
            "ParametersInvalid" => self.edit("correct spec.parameters as the message says"),
            "ClaimsNotAccepted" => self.of(
                "accept the claims that the message names, in spec.permissionClaims of the binding",
                &["edit", "apibinding", "annex.sh"],
            ),
            "Unsigned" | "VerificationFailed" => self.edit(
                "set spec.version to a version that verifies, or tell the publisher; this one is not installed",
            ),
            "EnvironmentNotFound" => self.of(
                "see which environments there are, then set spec.environmentRef to one or remove it",
                &self.namespaced(&["get", "managedenvironments.annex.sh"]),
            ),
            "EnvironmentNotReady" => self.explain_environment(),
            "TooManyEnvironments" if self.situation.kind == Kind::ManagedEnvironment => self.of(
                "delete environments that nobody needs; this one is looked at by itself when it is among the oldest",
                &["get", "managedenvironments.annex.sh", "--all-namespaces"],
            ),
            "NamespaceRequired" | "TooManyEnvironments" => self.of(
                "change the environment as the message says, or name another one",
                &self.namespaced(&["get", "managedenvironments.annex.sh"]),
            ),
            "KnativeNotInstalled" | "ComputeUnreachable" | "ComputeRefused" | "RunnerNotFound"
            | "RunnerNotReady" | "CertificateNotFound" | "NoRunnerImage" | "NamespaceConflict"
            | "RunnerConflict" => self.watch(
                "tell whoever runs the cluster what the message says (the platform's operator, unless \
                 spec.environmentRef names a cluster of your own); it goes on by itself afterwards",
            ),
            "ClaimMissing" => self.watch(
                "give whoever runs the cluster the manifest in the message to apply; it goes on by itself afterwards",
            ),
            "Provisioning" | "NamespaceTerminating" | "BeingRemoved" | "Uninstalling" => {
                self.watch("wait: it goes on by itself")
            }
            "SecretTypeInvalid" => self.of(
                "delete the Secret and create it again with --type=annex.sh/managed-environment; a Secret's type cannot be changed",
                &self.namespaced(&["delete", "secret", self.unseen_secret(&condition.message).unwrap_or("NAME")]),
            ),
            "SecretKeyMissing" | "KubeconfigInvalid" | "KubeconfigFieldRefused" | "ContextNotFound"
            | "ServerMismatch" | "CredentialsMissing" | "CredentialsInvalid" | "CredentialsRejected"
            | "CertificateInvalid" => self.of(
                "put a kubeconfig into the Secret that has not what the message objects to; it is looked at at once",
                &self.namespaced(&["edit", "secret", self.unseen_secret(&condition.message).unwrap_or("NAME")]),
            ),
            "InvalidAPIURL" | "InvalidNamespace" | "NamespaceNotFound" | "Redirected" | "HostNotFound"
            | "InsecureTLSRefused" => self.edit("correct what the message names"),
            "AddressRefused" => self.watch(
                "name a server with public addresses, or ask the platform's operator to allow this network; it is tried \
                 again by itself",
            ),
            "Unreachable" | "ServerError" | "TLSFailed" | "NotKubernetes" | "AnswerTooLarge" => self.watch(
                "look after the server that spec.apiURL names; it is tried again by itself, at most a minute apart",
            ),
            "RunnerUnreachable" => self.watch(
                "wait: the platform's runner does not answer and is tried again; if it stays so, tell the \
                 platform's operator",
            ),
            "DomainConflict" => self.watch(
                "ask the platform's operator for another slug, because the host is taken; it goes on by itself \
                 afterwards",
            ),
            "RegistryUnavailable" => self.watch(
                "wait; the platform cannot read the bundle just now, and it goes on by itself; if it stays, ask its operator",
            ),
            "LifecycleFailed" | "CapabilityDenied" | "Timeout" => self.of(
                "see which stage failed and why; then have it begun again with kubectl annex retry, or go back with \
                 kubectl annex rollback or spec.version",
                &self.namespaced(&["annex", "history", &self.object()]),
            ),
            "RunnerUnavailable" | "RunnerNotReachable" => self.of(
                "wait: handlers of the extension are called once its runner answers; see at which stage it is, and if it \
                 stays so, tell whoever runs the cluster",
                &self.namespaced(&["annex", "history", &self.object()]),
            ),
            "DependencyMissing" => self.of(
                "install what the message names, or set spec.dependencies to Auto; see what there would be to install",
                &self.namespaced(&["annex", "plan", &self.object()]),
            ),
            "DependencyNotReady" => self.of(
                "see which of the extensions that the message names is not ready; it goes on by itself once it is",
                &["get", "installs.annex.sh", "--all-namespaces"],
            ),
            "DependencyCycle" => self.of(
                "take other versions or tell the publishers: those that the message names wait for each other for ever",
                &["get", "installs.annex.sh", "--all-namespaces"],
            ),
            "InstallingDependencies" => self.of(
                "wait: what it needs is installed along, and it goes on by itself",
                &["get", "installs.annex.sh", "--all-namespaces", "--watch"],
            ),
            "BreaksDependents" => self.of(
                "upgrade those first that the message names, or set spec.version back to what they can do with",
                &self.namespaced(&["annex", "plan", &self.object()]),
            ),
            "HasDependents" => self.of(
                "see who needs it still; the deletion goes on once those are gone or need it no more",
                &self.namespaced(&["annex", "plan", &self.object(), "--delete"]),
            ),
            "StorageNotRemoved" => self.watch(
                "wait: removing what the extension stored is tried again; if it stays so, tell the platform's operator",
            ),
            "NotSynced" => self.watch("wait; part of the platform cannot be read just now, and it goes on by itself"),
            "DomainInvalid" => self.watch(
                "tell the platform's operator what the message says; it goes on by itself once that is mended",
            ),
            "DomainNotAnswering" => match self.curl() {
                Some(command) => Next { advice: "see what answers there".to_owned(), command },
                None => self.events("see what happened to it"),
            },
            _ => self.events("see what happened to it"),
        }
    }

    /// What a deletion waits for is in the reason of Ready alone: the other conditions are as they were before it.
    fn let_go(&self) -> Next {
        match self.situation.conditions.iter().find(|condition| condition.kind == READY) {
            Some(ready) if ready.reason == "HasDependents" => self.mend(ready),
            _ => self.events(
                "see what the deletion waits for; what is gone for good is left behind by the annotation annex.sh/abandon: compute, \
                 handlers or storage",
            ),
        }
    }

    fn enjoy(&self) -> Next {
        match self.curl() {
            Some(command) => Next { advice: "open it".to_owned(), command },
            None => self.of("look at all of it", &self.namespaced(&["get", &self.object(), "-o", "yaml"])),
        }
    }

    /// For a Secret that the controller does not see: it is missing, or lacks the label.
    fn label_secret(&self, condition: &Condition) -> Next {
        let label = format!("{MANAGED_LABEL}=true");
        let secret = self.unseen_secret(&condition.message);
        self.of(
            "create the Secret if it is missing; if it is there, label it, because Annex sees no other ones",
            &self.namespaced(&["label", "secret", secret.unwrap_or("NAME"), &label]),
        )
    }

    /// The Secret of the spec that the message names, or the only one of the spec.
    fn unseen_secret(&self, message: &str) -> Option<&str> {
        let names = self.secrets();
        // Whole words: "db" is not meant by "db-password".
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let words: Vec<&str> =
            message.split(|c: char| !is_part(c)).map(|word| word.trim_end_matches('.')).collect();
        match names.as_slice() {
            [only] => Some(only),
            _ => names.into_iter().find(|name| words.contains(name)),
        }
    }

    fn secrets(&self) -> Vec<&str> {
        let Some(spec) = self.situation.spec else { return Vec::new() };
        let lists = ["secrets", "parametersFrom"].into_iter().filter_map(|list| spec.get(list)?.as_array());
        let mut names: Vec<&str> = lists
            .flatten()
            .chain(spec.get("credentialsSecretRef"))
            .filter_map(|reference| reference.get("name")?.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn explain_environment(&self) -> Next {
        let name = self.situation.spec.and_then(|spec| spec.pointer("/environmentRef/name")?.as_str());
        match name {
            Some(name) => self.of(
                "see what the environment lacks",
                &self.namespaced(&["annex", "explain", &format!("managedenvironment/{name}")]),
            ),
            None => self.events("see what happened to it"),
        }
    }

    fn curl(&self) -> Option<String> {
        let url = self.situation.url?;
        let is_web = url.starts_with("http://") || url.starts_with("https://");
        is_web.then(|| format!("curl -i {}", quoted(url)))
    }

    fn edit(&self, advice: &str) -> Next {
        self.of(advice, &self.namespaced(&["edit", &self.object()]))
    }

    fn watch(&self, advice: &str) -> Next {
        self.of(advice, &self.namespaced(&["get", &self.object(), "--watch"]))
    }

    fn events(&self, advice: &str) -> Next {
        self.of(advice, &self.namespaced(&["events", "--for", &self.object()]))
    }

    fn of(&self, advice: &str, words: &[&str]) -> Next {
        Next { advice: advice.to_owned(), command: self.kubectl.command(words) }
    }

    fn of_catalog(&self, advice: &str, words: &[&str]) -> Next {
        Next { advice: advice.to_owned(), command: self.kubectl.catalog_command(words) }
    }

    fn object(&self) -> String {
        format!("{}/{}", self.situation.kind.singular(), self.situation.name)
    }

    fn namespaced<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        let mut words = words.to_vec();
        words.extend(["-n", self.situation.namespace]);
        words
    }
}
