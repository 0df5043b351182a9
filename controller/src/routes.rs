use std::collections::HashMap;

use annex_core::{HostName, InstallIdentity};
use kube_kcp::ObjectKey;
use parking_lot::RwLock;

/// Which install each host is, for the lookup. An install has at most one host.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    hosts: HashMap<HostName, (ObjectKey, InstallIdentity)>,
    of: HashMap<ObjectKey, HostName>,
}

impl Routes {
    /// What answers on `host`.
    pub(crate) fn lookup(&self, host: &HostName) -> Option<InstallIdentity> {
        self.state.read().hosts.get(host).map(|(_, identity)| identity.clone())
    }

    /// `install` answers on `host`, and on no other. The caller holds the claim on `host`.
    pub(crate) fn set(&self, install: &ObjectKey, host: &HostName, identity: InstallIdentity) {
        let mut state = self.state.write();
        if state.of.get(install).is_some_and(|before| before != host) {
            state.remove(install);
        }
        state.of.insert(install.clone(), host.clone());
        if let Some((before, _)) = state.hosts.insert(host.clone(), (install.clone(), identity))
            && before != *install
        {
            state.of.remove(&before);
        }
    }

    /// `install` answers nowhere. Returns where it answered.
    pub(crate) fn remove(&self, install: &ObjectKey) -> Option<HostName> {
        self.state.write().remove(install)
    }

    pub(crate) fn len(&self) -> usize {
        self.state.read().hosts.len()
    }
}

impl State {
    fn remove(&mut self, install: &ObjectKey) -> Option<HostName> {
        let host = self.of.remove(install)?;
        if self.hosts.get(&host).is_some_and(|(holder, _)| holder == install) {
            self.hosts.remove(&host);
        }
        Some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            shard: "https://s".parse().unwrap(),
            cluster: "c".parse().unwrap(),
            namespace: String::new(),
            name: name.into(),
        }
    }

    fn identity(tenant: &str) -> InstallIdentity {
        serde_json::from_value(serde_json::json!({
            "tenant_id": tenant, "extension_id": "com.example.hello", "content_hash": format!("sha256:{}", "0a".repeat(32)),
        }))
        .unwrap()
    }

    #[test]
    fn an_install_answers_on_its_last_host_only() {
        let routes = Routes::default();
        let (one, two): (HostName, HostName) =
            ("a--x.apps.localhost".parse().unwrap(), "b--x.apps.localhost".parse().unwrap());
        routes.set(&key("a"), &one, identity("t"));
        routes.set(&key("a"), &two, identity("t"));
        assert_eq!((routes.lookup(&one), routes.lookup(&two)), (None, Some(identity("t"))));
        routes.set(&key("b"), &two, identity("u"));
        routes.remove(&key("a"));
        assert_eq!(routes.lookup(&two), Some(identity("u")), "who lost a host does not take it away");
        routes.remove(&key("b"));
        assert_eq!(routes.len(), 0);
    }
}
