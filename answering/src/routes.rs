use std::collections::{HashMap, HashSet};

use annex_core::{ContentHash, HostName};
use kube_kcp::ObjectKey;
use parking_lot::RwLock;

/// Which Install each host is, and with which content. An Install has one host, and two while it moves from one to another.
#[derive(Debug, Default)]
pub struct Routes {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    hosts: HashMap<HostName, (ObjectKey, ContentHash)>,
    of: HashMap<ObjectKey, Vec<HostName>>,
}

impl Routes {
    /// What answers on `host`.
    pub fn get(&self, host: &HostName) -> Option<(ObjectKey, ContentHash)> {
        self.state.read().hosts.get(host).cloned()
    }

    /// `install` answers on these hosts and on no other. Of two events of two Installs that come in the wrong order, the later one stands:
    /// who has lost a host does not take it from who has it now.
    pub fn follow(&self, install: &ObjectKey, routes: Vec<(HostName, ContentHash)>) {
        self.state.write().follow(install, routes);
    }

    /// The same of an Install that goes, whatever its status still says: a host that another one has by now it does not take back.
    pub fn follow_going(&self, install: &ObjectKey, mut routes: Vec<(HostName, ContentHash)>) {
        let mut state = self.state.write();
        routes.retain(|(host, _)| state.hosts.get(host).is_none_or(|(holder, _)| holder == install));
        state.follow(install, routes);
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.state.read().hosts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn follow(&mut self, install: &ObjectKey, routes: Vec<(HostName, ContentHash)>) {
        let Self { hosts, of } = self;
        let now: HashSet<HostName> = routes.iter().map(|(host, _)| host.clone()).collect();
        let before = of.remove(install).unwrap_or_default();
        for host in before.into_iter().filter(|host| !now.contains(host)) {
            if hosts.get(&host).is_some_and(|(holder, _)| holder == install) {
                hosts.remove(&host);
            }
        }
        for (host, content) in routes {
            hosts.insert(host, (install.clone(), content));
        }
        if !now.is_empty() {
            of.insert(install.clone(), now.into_iter().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { cluster: "c".parse().unwrap(), namespace: String::new(), name: name.into() }
    }

    fn host(number: u8) -> HostName {
        format!("h{number}.test").parse().unwrap()
    }

    fn content(number: u8) -> ContentHash {
        ContentHash::from_sha256([number; 32])
    }

    #[test]
    fn an_install_answers_where_its_status_says_and_nowhere_else() {
        let routes = Routes::default();
        routes.follow(&key("x"), vec![(host(1), content(1)), (host(2), content(1))]);
        routes.follow(&key("x"), vec![(host(2), content(2))]);
        assert_eq!((routes.get(&host(1)), routes.get(&host(2))), (None, Some((key("x"), content(2)))));
        routes.follow(&key("y"), vec![(host(2), content(3))]);
        routes.follow(&key("x"), Vec::new());
        assert_eq!(
            routes.get(&host(2)),
            Some((key("y"), content(3))),
            "who lost a host does not take it away"
        );
        routes.follow(&key("y"), Vec::new());
        assert!(routes.is_empty() && routes.state.read().of.is_empty());
    }

    #[test]
    fn who_goes_takes_no_host_from_who_has_it_by_now() {
        let routes = Routes::default();
        routes.follow(&key("x"), vec![(host(1), content(1))]);
        routes.follow_going(&key("x"), vec![(host(1), content(1))]);
        assert_eq!(routes.get(&host(1)), Some((key("x"), content(1))), "until then it is still its own");
        routes.follow(&key("y"), vec![(host(1), content(2))]);
        routes.follow_going(&key("x"), vec![(host(1), content(1))]);
        routes.follow(&key("x"), Vec::new());
        assert_eq!(routes.get(&host(1)), Some((key("y"), content(2))));
    }

    proptest! {
        /// Against the model: a host is the Install's that claimed it last and claims it still.
        #[test]
        fn hosts_are_as_the_model_has_them(
            events in prop::collection::vec((0u8..4, prop::collection::btree_map(0u8..5, 0u8..3, 0..3)), 0..40)
        ) {
            let routes = Routes::default();
            let mut model: BTreeMap<u8, (u8, u8)> = BTreeMap::new();
            for (install, declared) in events {
                model.retain(|host, (holder, _)| *holder != install || declared.contains_key(host));
                model.extend(declared.iter().map(|(host, content)| (*host, (install, *content))));
                let declared = declared.into_iter().map(|(at, what)| (host(at), content(what))).collect();
                routes.follow(&key(&install.to_string()), declared);
                prop_assert_eq!(routes.len(), model.len());
                for (at, (holder, what)) in &model {
                    prop_assert_eq!(routes.get(&host(*at)), Some((key(&holder.to_string()), content(*what))));
                }
            }
        }
    }
}
