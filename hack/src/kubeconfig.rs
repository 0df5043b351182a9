//! Reads what a kubeconfig says about a server, and writes kubeconfigs for its workspaces.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// A kcp, as a kubeconfig describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The address without any `/clusters/…`.
    pub(crate) base: String,
    /// Everything else that the kubeconfig says about the server: its authority, a proxy.
    options: Map<String, Value>,
}

impl Endpoint {
    /// Server and user of the current context, from `kubectl config view --raw --flatten --minify -o json`.
    pub(crate) fn from_view(view: &Value) -> Result<(Self, Value)> {
        let mut options = view
            .pointer("/clusters/0/cluster")
            .and_then(Value::as_object)
            .context("the kubeconfig's current context names no server")?
            .clone();
        let Some(Value::String(server)) = options.remove("server") else {
            bail!("the kubeconfig's current context names no server");
        };
        let base = server.split_once("/clusters/").map_or(server.as_str(), |(base, _)| base);
        let user = view.pointer("/users/0/user").cloned().unwrap_or_else(|| json!({}));
        Ok((Self { base: base.trim_end_matches('/').to_owned(), options }, user))
    }

    /// The server of the first context of a kubeconfig that [`Endpoint::kubeconfig`] wrote.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let failed = || format!("cannot read {}", path.display());
        let text = fs::read(path).with_context(failed)?;
        Ok(Self::from_view(&serde_json::from_slice(&text).with_context(failed)?)?.0)
    }

    /// Whether the user of the first context of such a kubeconfig has a token.
    pub(crate) fn has_token(path: &Path) -> Result<bool> {
        let failed = || format!("cannot read {}", path.display());
        let view: Value =
            serde_json::from_slice(&fs::read(path).with_context(failed)?).with_context(failed)?;
        Ok(view.pointer("/users/0/user/token").is_some_and(Value::is_string))
    }

    /// The certificate authority. None: the system's own vouch for the server.
    pub(crate) fn authority(&self) -> Result<Option<Vec<u8>>> {
        let data = self.options.get("certificate-authority-data").and_then(Value::as_str);
        data.map(|data| STANDARD.decode(data)).transpose().context("the kubeconfig's authority is not base64")
    }

    /// A kubeconfig for one user; `contexts` are the names of contexts with the workspace of each, the first current.
    ///
    /// As JSON, which is YAML to everything that reads a kubeconfig.
    pub(crate) fn kubeconfig(
        &self,
        user: &str,
        credentials: &Value,
        contexts: &[(&str, &str)],
    ) -> Result<Vec<u8>> {
        let clusters: Vec<Value> = contexts
            .iter()
            .map(|(name, workspace)| {
                let mut cluster = self.options.clone();
                cluster.insert("server".to_owned(), format!("{}/clusters/{workspace}", self.base).into());
                json!({"name": name, "cluster": cluster})
            })
            .collect();
        let entries: Vec<Value> = contexts
            .iter()
            .map(|(name, _)| json!({"name": name, "context": {"cluster": name, "user": user, "namespace": "default"}}))
            .collect();
        let (current, _) = contexts.first().context("a kubeconfig needs a context")?;
        let mut text = serde_json::to_vec_pretty(&json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": current,
            "clusters": clusters,
            "contexts": entries,
            "users": [{"name": user, "user": credentials}],
        }))
        .context("cannot render a kubeconfig")?;
        text.push(b'\n');
        Ok(text)
    }
}

/// A kubeconfig of one context: `cluster` is what it says about the server. As JSON, which is YAML to everything that reads one.
pub(crate) fn single(context: &str, cluster: &Value, user: &str, credentials: &Value) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": cluster}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
        "users": [{"name": user, "user": credentials}],
    }))
    .context("cannot render a kubeconfig")?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(server: &str) -> Value {
        json!({
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": "Q0E="}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        })
    }

    #[test]
    fn the_workspace_is_cut_off_the_address() {
        for server in
            ["https://h:1", "https://h:1/", "https://h:1/clusters/root", "https://h:1/clusters/root:a:b"]
        {
            let (endpoint, user) = Endpoint::from_view(&view(server)).unwrap();
            assert_eq!(endpoint.base, "https://h:1", "{server}");
            assert_eq!(endpoint.authority().unwrap().unwrap(), b"CA");
            assert_eq!(user, json!({"token": "t"}));
        }
        assert!(Endpoint::from_view(&json!({"clusters": null})).is_err());
    }

    #[test]
    fn each_context_leads_to_its_workspace() {
        let (endpoint, _) = Endpoint::from_view(&view("https://h:1/prefix/clusters/root")).unwrap();
        let text = endpoint
            .kubeconfig("alice", &json!({"token": "x"}), &[("root", "root"), ("acme", "root:acme")])
            .unwrap();
        let config: Value = serde_json::from_slice(&text).unwrap();
        let (parsed, user) = Endpoint::from_view(&config).unwrap();
        assert_eq!((parsed, user), (endpoint, json!({"token": "x"})));
        assert_eq!(config.pointer("/current-context").unwrap(), "root");
        assert_eq!(
            config.pointer("/clusters/1/cluster/server").unwrap(),
            "https://h:1/prefix/clusters/root:acme"
        );
        assert_eq!(config.pointer("/clusters/1/cluster/certificate-authority-data").unwrap(), "Q0E=");
        assert_eq!(config.pointer("/contexts/1/context/cluster").unwrap(), "acme");
    }
}
