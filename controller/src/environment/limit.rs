use annex_apis::ManagedEnvironment;
use annex_initializer::{ENVIRONMENT, NAMESPACE};
use kube_kcp::{ClusterName, ObjectKey};

use crate::context::Context;

/// How many environments of a workspace are looked at. Each costs questions to its server, and a client while it is Ready.
pub(super) const MOST: usize = 16;
pub(super) const TOO_MANY: &str = "TooManyEnvironments";

/// The environments of a workspace that are looked at: its own, and then the oldest.
pub(super) fn looked_at(context: &Context, cluster: &ClusterName) -> Vec<ObjectKey> {
    let mut there = context.tenants.environments.in_cluster(cluster);
    there.retain(|(_, environment)| environment.metadata.deletion_timestamp.is_none());
    there.sort_by_cached_key(|(key, environment)| rank(key, environment));
    there.into_iter().take(MOST).map(|(key, _)| key).collect()
}

/// Those among them that were refused as one too many: one of the others has gone.
pub(crate) fn let_in(context: &Context, cluster: &ClusterName) -> Vec<ObjectKey> {
    let mut there = looked_at(context, cluster);
    there.retain(|key| context.environments.reason(key).is_some_and(|because| because.reason == TOO_MANY));
    there
}

fn rank(key: &ObjectKey, environment: &ManagedEnvironment) -> (bool, i64, ObjectKey) {
    let is_own = key.namespace == NAMESPACE && key.name == ENVIRONMENT;
    let created = environment.metadata.creation_timestamp.as_ref();
    (!is_own, created.map_or(i64::MAX, |time| time.0.as_second()), key.clone())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use kube_kcp::Outcome;
    use serde_json::json;

    use super::*;
    use crate::{
        environment::reconcile,
        scripted::{self, Controller},
    };

    fn environment(created: usize) -> ManagedEnvironment {
        serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "ManagedEnvironment",
            "metadata": { "name": "e", "namespace": "default", "uid": "e",
                "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z") },
            "spec": { "apiURL": "https://server.test", "credentialsSecretRef": { "name": "none" } },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn the_oldest_are_looked_at_and_the_next_when_one_has_gone() {
        let kcp = |asked: scripted::Asked| match asked.what.starts_with("PUT") {
            true => scripted::object(serde_json::to_value(environment(0)).unwrap()),
            false => scripted::refusal(404, "not found"),
        };
        let controller = Controller::start(kcp, None).await;
        let (context, cluster) = (&*controller.context, &"acme".parse().unwrap());
        let key = |number: usize| controller.key("acme", &format!("e{number:02}"));
        for number in 0..MOST + 2 {
            // The younger the earlier in the alphabet.
            context.tenants.environments.apply(&controller.shard, key(number), environment(40 - number));
        }
        let own = ObjectKey { namespace: NAMESPACE.to_owned(), name: ENVIRONMENT.to_owned(), ..key(0) };
        context.tenants.environments.apply(&controller.shard, own.clone(), environment(59));
        let looked = looked_at(context, cluster);
        assert_eq!(looked.len(), MOST);
        assert!(looked[0] == own && looked[1] == key(MOST + 1) && !looked.contains(&key(2)), "{looked:?}");

        for number in 0..MOST + 2 {
            assert_ne!(reconcile(context, &key(number)).await, Outcome::Done);
        }
        let reason = |number: usize| context.environments.reason(&key(number)).unwrap();
        assert_eq!([reason(2).reason, reason(3).reason], [TOO_MANY, "SecretNotFound"]);
        assert!(reason(2).message.contains("16"));
        assert_eq!(let_in(context, cluster), []);

        let change = context.tenants.environments.delete(&controller.shard, &key(9)).unwrap();
        context.environment_changed(&change);
        let queued: Vec<_> =
            std::iter::from_fn(|| context.environments.queue.next().now_or_never()).collect();
        assert!(queued.contains(&key(2)) && !queued.contains(&key(3)), "{queued:?}");
    }
}
