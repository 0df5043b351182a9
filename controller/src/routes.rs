use std::collections::{HashMap, HashSet};

use annex_apis::Route;
use annex_core::{HostName, InstallIdentity};
use kube_kcp::ObjectKey;
use parking_lot::RwLock;

/// Which install each host is, as the statuses are to say it: the registry answers by those. An install has one host, and two while it moves
/// from one to another.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    hosts: HashMap<HostName, (ObjectKey, InstallIdentity)>,
    of: HashMap<ObjectKey, Vec<HostName>>,
}

impl Routes {
    /// Nothing answers anywhere.
    pub(crate) fn clear(&self) {
        *self.state.write() = State::default();
    }

    #[cfg(test)]
    fn lookup(&self, host: &HostName) -> Option<InstallIdentity> {
        self.state.read().hosts.get(host).map(|(_, identity)| identity.clone())
    }

    /// `install` answers on `host`, and goes on answering where it did. The caller holds the claim on `host`.
    pub(crate) fn add(&self, install: &ObjectKey, host: &HostName, identity: InstallIdentity) {
        let mut state = self.state.write();
        let former = state.hosts.insert(host.clone(), (install.clone(), identity));
        if let Some((former, _)) = former.filter(|(former, _)| former != install)
            && let Some(hosts) = state.of.get_mut(&former)
        {
            hosts.retain(|other| other != host);
        }
        let hosts = state.of.entry(install.clone()).or_default();
        if !hosts.contains(host) {
            hosts.push(host.clone());
        }
    }

    /// `install` answers on `host`, and on no other. The caller holds the claim on `host`.
    pub(crate) fn set(&self, install: &ObjectKey, host: &HostName, identity: InstallIdentity) {
        self.add(install, host, identity);
        self.keep_only(install, host);
    }

    /// `install` answers on no other host than `host`.
    pub(crate) fn keep_only(&self, install: &ObjectKey, host: &HostName) {
        let mut state = self.state.write();
        let Some(hosts) = state.of.get_mut(install) else { return };
        let dropped: Vec<HostName> = hosts.iter().filter(|other| *other != host).cloned().collect();
        hosts.retain(|other| other == host);
        for host in dropped {
            state.hosts.remove(&host);
        }
    }

    /// `install` answers nowhere. Returns where it answered.
    pub(crate) fn remove(&self, install: &ObjectKey) -> Vec<HostName> {
        let mut state = self.state.write();
        let hosts = state.of.remove(install).unwrap_or_default();
        for host in &hosts {
            state.hosts.remove(host);
        }
        hosts
    }

    /// `install` answers on these hosts and on no other.
    pub(crate) fn follow(&self, install: &ObjectKey, routes: Vec<(HostName, InstallIdentity)>) {
        let hosts: HashSet<HostName> = routes.iter().map(|(host, _)| host.clone()).collect();
        for (host, identity) in routes {
            self.add(install, &host, identity);
        }
        let mut state = self.state.write();
        let Some(held) = state.of.get_mut(install) else { return };
        let dropped: Vec<HostName> = held.extract_if(.., |host| !hosts.contains(host)).collect();
        if held.is_empty() {
            state.of.remove(install);
        }
        for host in dropped {
            state.hosts.remove(&host);
        }
    }

    /// Where `install` answers, and with what.
    pub(crate) fn of(&self, install: &ObjectKey) -> Vec<Route> {
        let state = self.state.read();
        let hosts = state.of.get(install).into_iter().flatten();
        hosts
            .filter_map(|host| {
                let (_, identity) = state.hosts.get(host)?;
                let content_hash = identity.content_hash.to_string();
                Some(Route { host: host.to_string(), content_hash })
            })
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.state.read().hosts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { cluster: "c".parse().unwrap(), namespace: String::new(), name: name.into() }
    }

    fn identity(tenant: &str) -> InstallIdentity {
        serde_json::from_value(serde_json::json!({
            "tenant_id": tenant, "extension_id": "com.example.hello", "content_hash": format!("sha256:{}", "0a".repeat(32)),
        }))
        .unwrap()
    }

    #[test]
    fn a_follower_answers_where_the_status_says_and_nowhere_else() {
        let routes = Routes::default();
        let (a, b): (HostName, HostName) = ("a.test".parse().unwrap(), "b.test".parse().unwrap());
        routes.follow(&key("x"), vec![(a.clone(), identity("x")), (b.clone(), identity("x"))]);
        assert_eq!(routes.of(&key("x")).len(), 2);
        routes.follow(&key("x"), vec![(b.clone(), identity("x"))]);
        assert!(routes.lookup(&a).is_none() && routes.lookup(&b).is_some());
        // Of two events that come in the wrong order, the later one of the other install stands.
        routes.follow(&key("y"), vec![(b.clone(), identity("y"))]);
        routes.follow(&key("x"), Vec::new());
        assert_eq!(routes.lookup(&b), Some(identity("y")));
        routes.follow(&key("y"), Vec::new());
        assert!(routes.state.read().of.is_empty() && routes.len() == 0);
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
        routes.set(&key("a"), &one, identity("t"));
        routes.add(&key("a"), &two, identity("t"));
        assert!(routes.lookup(&one).is_some() && routes.lookup(&two).is_some(), "both while it moves");
        routes.keep_only(&key("a"), &two);
        assert_eq!((routes.lookup(&one), routes.len()), (None, 1));
    }
}
