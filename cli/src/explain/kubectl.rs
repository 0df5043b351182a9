//! Commands that a person can paste.

use std::path::Path;

use crate::server::PROVIDER_WORKSPACE;
use crate::shell::quoted;

/// How kubectl reaches the object's workspace, as the person who asked reached it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kubectl {
    kubeconfig: Option<String>,
    context: Option<String>,
    /// The provider workspace, where the catalog is; none where the server has no workspaces.
    catalog_server: Option<String>,
}

impl Kubectl {
    /// For commands that reach `server` with the same `--kubeconfig` and `--context` as this one.
    pub(crate) fn new(kubeconfig: Option<&Path>, context: Option<&str>, server: &str) -> Self {
        Self {
            kubeconfig: kubeconfig.map(|path| path.display().to_string()),
            context: context.map(str::to_owned),
            catalog_server: server
                .split_once("/clusters/")
                .map(|(base, _)| format!("{base}/clusters/{PROVIDER_WORKSPACE}")),
        }
    }

    /// `kubectl` with these words, each quoted for a POSIX shell where it needs it.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let mut command = vec!["kubectl".to_owned()];
        command.extend(words.iter().map(|word| quoted(word)));
        for (flag, value) in [("--kubeconfig", &self.kubeconfig), ("--context", &self.context)] {
            if let Some(value) = value {
                command.extend([flag.to_owned(), quoted(value)]);
            }
        }
        command.join(" ")
    }

    /// The same in the provider's workspace.
    pub(crate) fn catalog_command(&self, words: &[&str]) -> String {
        let mut words = words.to_vec();
        if let Some(server) = &self.catalog_server {
            words.extend(["--server", server]);
        }
        self.command(&words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_the_callers_flags() {
        let kubectl =
            Kubectl::new(Some(Path::new("my config")), Some("acme"), "https://kcp:6443/clusters/root:acme");
        assert_eq!(
            kubectl.command(&["get", "installs"]),
            "kubectl get installs --kubeconfig 'my config' --context acme"
        );
        assert_eq!(
            kubectl.catalog_command(&["get", "extensions"]),
            "kubectl get extensions --server https://kcp:6443/clusters/root:annex --kubeconfig 'my config' --context acme"
        );
    }

    #[test]
    fn a_server_without_workspaces_has_no_other_server() {
        let kubectl = Kubectl::new(None, None, "https://kubernetes:6443");
        assert_eq!(kubectl.catalog_command(&["get", "extensions"]), "kubectl get extensions");
    }
}
