use annex_apis::Install;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{compute::State, context::Context};

/// What is there, as the operator's metrics show it: brought up to date when somebody looks.
#[derive(Debug)]
pub(crate) struct Gauges {
    installs: Family<Ready, Gauge>,
    routes: Gauge,
    /// Only where there is one: a zero would be an alarm.
    compute: Option<Gauge>,
    runner: Option<Gauge>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ready {
    ready: &'static str,
}

/// Every value is shown, also at zero. Reasons are no label: those of a tenant's own cluster may be any words.
const VALUES: [&str; 3] = ["True", "False", "Unknown"];

impl Gauges {
    pub(crate) fn register(registry: &mut Registry, context: &Context) -> Self {
        let gauges = Self {
            installs: Family::default(),
            routes: Gauge::default(),
            compute: context.places.platform().map(|_| Gauge::default()),
            runner: context.runner.as_ref().map(|_| Gauge::default()),
        };
        registry.register(
            "installs",
            "Installs that are known, by their condition Ready",
            gauges.installs.clone(),
        );
        registry.register("routes", "Hosts that Installs answer on", gauges.routes.clone());
        if let Some(compute) = &gauges.compute {
            let help = "1 while the compute cluster answers and everything of it is known";
            registry.register("compute_reachable", help, compute.clone());
        }
        if let Some(runner) = &gauges.runner {
            let help = "1 while the runner or ingress that is asked for new domains answers";
            registry.register("runner_reachable", help, runner.clone());
        }
        gauges
    }

    /// Reads everything anew.
    pub(crate) fn refresh(&self, context: &Context) {
        self.routes.set(i64::try_from(context.routes.len()).unwrap_or(i64::MAX));
        let installs = context.tenants.installs.all();
        for ready in VALUES {
            let many = installs.iter().filter(|(_, install)| readiness(install) == ready).count();
            self.installs.get_or_create(&Ready { ready }).set(i64::try_from(many).unwrap_or(i64::MAX));
        }
        if let (Some(gauge), Some(platform)) = (&self.compute, context.places.platform()) {
            gauge.set(i64::from(platform.state() == State::Known));
        }
        if let (Some(gauge), Some(runner)) = (&self.runner, &context.runner) {
            gauge.set(i64::from(*runner.reachable().borrow()));
        }
    }
}

/// One of [`VALUES`].
fn readiness(install: &Install) -> &'static str {
    let conditions = install.status.iter().flat_map(|status| &status.conditions);
    let ready =
        conditions.filter(|condition| condition.type_ == "Ready").map(|ready| ready.status.as_str()).next();
    VALUES.into_iter().find(|value| ready == Some(value)).unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_install_that_nobody_has_looked_at_is_unknown() {
        let install = |status: serde_json::Value| -> Install {
            serde_json::from_value(json!({
                "apiVersion": "annex.sh/v1alpha1", "kind": "Install", "metadata": { "name": "a" },
                "spec": { "extension": "com.example.a" }, "status": status,
            }))
            .unwrap()
        };
        let condition = |type_: &str, status: &str| {
            json!({ "type": type_, "status": status, "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z" })
        };
        assert_eq!(readiness(&install(json!(null))), "Unknown");
        assert_eq!(readiness(&install(json!({ "conditions": [condition("Resolved", "True")] }))), "Unknown");
        for value in VALUES {
            let conditions = [condition("Resolved", "True"), condition("Ready", value)];
            assert_eq!(readiness(&install(json!({ "conditions": conditions }))), value);
        }
    }
}
