use std::{sync::Arc, time::Duration};

use annex_apis::{Flow, FlowAction, Install, InstallStatus, RunnerReference, asked_again};
use annex_core::HostName;
use kube::ResourceExt as _;
use kube_kcp::ClusterName;

use super::{
    conditions::{Because, Findings, READY, Stage},
    facts::{Facts, recorded_host},
    flow::is_open,
    resolve::Resolved,
    site::{Site, site_named},
    undo::others,
};
use crate::{
    compute::{Place, State, Tenancy, Trouble},
    context::Context,
    runner::ProbeError,
};

/// What is to answer, as far as it can be made now.
pub(super) enum Prepared {
    /// It can be asked.
    There(RunnerReference),
    /// The host leads to the runner already; the rest is watched and on its way.
    Mapped,
    /// Not yet. Something that is watched is on its way.
    Watched,
    /// Not yet, and nothing that is watched will tell when.
    No,
    /// The host is somebody else's on the cluster.
    Taken,
}

/// Makes what is to answer on the host. The caller holds the host.
pub(super) async fn prepare(
    context: &Context,
    facts: &Facts,
    resolved: &Resolved,
    findings: &mut Findings,
) -> Prepared {
    match &facts.site {
        Site::Cluster(place, _) => on_cluster(context, facts, place, resolved, findings).await,
        Site::Direct | Site::None(_) | Site::Unknown | Site::Gone => {
            Prepared::There(RunnerReference { mode: "direct".to_owned(), ..RunnerReference::default() })
        }
    }
}

/// Who is to say that the host answers with the install's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The host itself.
    Host,
    /// The runner has said it: the host leads there and has answered, and the content is another. All that is missing is that the
    /// registry hears of it, by the very status that is about to be written. The pass which that status wakes asks the host. Not so on a cluster: what executes
    /// there is another process than what answers.
    Runner,
}

/// Whether the host answers with the install's content. Before the host is asked, the lookup has to know, and every replica's.
pub(super) async fn answers(
    context: &Context,
    facts: &Facts,
    resolved: &Resolved,
    (runner, asked): (&RunnerReference, Asked),
    findings: &mut Findings,
) -> bool {
    let Site::Cluster(place, _) = &facts.site else {
        let answers = asked == Asked::Runner || probe(context, resolved, findings).await;
        if answers {
            passed(resolved, findings);
        }
        return answers;
    };
    // Once it answered, Knative is believed: asking again would start every runner that sleeps.
    let platform = place.environment().is_none();
    if platform
        && (is_made_again(&facts.install) || !has_answered(facts.install.status.as_ref(), resolved, runner))
        && !probe(context, resolved, findings).await
    {
        return false;
    }
    findings.passed(Stage::DomainReady, mapped(resolved));
    findings.passed(Stage::RunnerReady, Because::new("RunnerReady", "Knative says that the runner is ready"));
    findings.passed(Stage::Installed, installed(resolved));
    true
}

/// Makes again what is missing of what answers, where a change of it has been refused. Nothing is said of it: why the change was refused is what
/// its author has to know.
pub(super) async fn repair(context: &Context, facts: &Facts) {
    let (key, install) = (&facts.key, &facts.install);
    let runner = install.status.as_ref().and_then(|status| status.runner_ref.as_ref());
    let environment = runner.and_then(|runner| runner.environment.as_deref());
    let (Site::Cluster(place, State::Known), Some(host)) =
        (site_named(context, key, environment), recorded_host(install))
    else {
        return;
    };
    let (uid, others) = (install.uid().unwrap_or_default(), others(context, key));
    let whose = Tenancy { cluster: &key.cluster, install: &uid, others: &others };
    let runners = place.ensure_runners(&key.cluster, None).await;
    let domain = match place.has_namespace(&key.cluster) {
        true => place.ensure_domain(whose, &host).await,
        false => Ok(()),
    };
    for trouble in [runners, domain].into_iter().filter_map(Result::err) {
        tracing::debug!(install = %key, ?trouble, "what goes on is not as it should be");
    }
}

/// Has the runners there through which an Install is called that goes: whoever took them away, without them it could not be.
pub(super) async fn keep_runners(context: &Context, facts: &Facts) {
    let runner = facts.install.status.as_ref().and_then(|status| status.runner_ref.as_ref());
    let environment = runner.and_then(|runner| runner.environment.as_deref());
    if let Site::Cluster(place, State::Known) = site_named(context, &facts.key, environment)
        && let Err(trouble) = place.ensure_runners(&facts.key.cluster, None).await
    {
        tracing::debug!(install = %facts.key, ?trouble, "its runners are not as they should be");
    }
}

async fn on_cluster(
    context: &Context,
    facts: &Facts,
    place: &Arc<Place>,
    resolved: &Resolved,
    findings: &mut Findings,
) -> Prepared {
    let cluster = &facts.key.cluster;
    let (uid, others) = (facts.install.uid().unwrap_or_default(), others(context, &facts.key));
    let whose = Tenancy { cluster, install: &uid, others: &others };
    let flow = facts.install.status.as_ref().and_then(|status| status.flow.as_ref());
    let began = flow.filter(|flow| flow.finished_at.is_none()).map(|flow| flow.started_at.0);
    let runners = place.ensure_runners(cluster, began).await;
    // Beside a runner that is still starting, but not where there may be no namespace for it.
    let domain = match &runners {
        Ok(()) | Err(Trouble::Waiting { .. }) if place.has_namespace(cluster) => {
            Some(place.ensure_domain(whose, &resolved.host).await)
        }
        _ => None,
    };
    match (runners, domain) {
        (Ok(()), Some(Ok(()))) => {}
        // Of two troubles the one that does not pass by itself.
        (_, Some(Err(trouble @ Trouble::Foreign { .. }))) => {
            refused(facts, place, findings, Stage::DomainReady, trouble);
            return Prepared::Taken;
        }
        (Ok(()), Some(Err(trouble))) => return refused(facts, place, findings, Stage::DomainReady, trouble),
        (Err(trouble), Some(Ok(()))) => {
            findings.passed(Stage::DomainReady, mapped(resolved));
            refused(facts, place, findings, Stage::RunnerReady, trouble);
            return Prepared::Mapped;
        }
        (Err(trouble), _) => return refused(facts, place, findings, Stage::RunnerReady, trouble),
        (Ok(()), None) => {
            let waiting = Because::new("Waiting", "the runner's namespace is on its way");
            findings.refused(Stage::RunnerReady, waiting);
            return Prepared::Watched;
        }
    }
    Prepared::There(runner_on(place, cluster))
}

fn runner_on(place: &Place, cluster: &ClusterName) -> RunnerReference {
    let (namespace, name) = place.runner_of(cluster);
    RunnerReference {
        mode: "knative".to_owned(),
        namespace: Some(namespace),
        name: Some(name),
        environment: place.environment().map(|environment| environment.name.clone()),
    }
}

/// What serves the Installs of `cluster` that run there. None: where that is, is not known.
pub(super) fn runner_at(site: &Site, cluster: &ClusterName) -> Option<RunnerReference> {
    match site {
        Site::Cluster(place, _) => Some(runner_on(place, cluster)),
        Site::Direct => Some(RunnerReference { mode: "direct".to_owned(), ..RunnerReference::default() }),
        Site::None(_) | Site::Unknown | Site::Gone => None,
    }
}

/// Who is to say it of a content that this runner has just said to be ready. A flow that changes nothing but the content of what answers on the
/// host has nothing to ask the host; one that makes everything anew does.
pub(super) fn who_says(facts: &Facts, host: &HostName, runner: &RunnerReference) -> Asked {
    match &facts.site {
        Site::Direct if answers_at(&facts.install, host, runner) => Asked::Runner,
        _ => Asked::Host,
    }
}

/// Whether it is about to be made again, or is being: then nothing counts that was found out before.
fn is_made_again(install: &Install) -> bool {
    let flow = install.status.iter().find_map(|status| status.flow.as_ref());
    let publishes = |flow: &Flow| {
        let publish = flow.stages.iter().find(|stage| stage.name == "Publish");
        publish.is_some_and(is_open)
    };
    asked_again(install).is_some()
        || flow.is_some_and(|flow| {
            flow.action == FlowAction::Reprovision && flow.finished_at.is_none() && publishes(flow)
        })
}

/// Whether the install answers on the host through this runner, whatever with.
fn answers_at(install: &Install, host: &HostName, runner: &RunnerReference) -> bool {
    let Some(status) = install.status.as_ref().filter(|_| !is_made_again(install)) else {
        return false;
    };
    let is_ready = status.conditions.iter().any(|ready| ready.type_ == READY && ready.status == "True");
    is_ready
        && status.installed_version.is_some()
        && status.host.as_deref() == Some(host.as_str())
        && status.runner_ref.as_ref() == Some(runner)
}

/// Whether this very content has answered on the host through this runner. Not whether it is Ready: after every outage nothing is, and
/// all runners would be started at once.
fn has_answered(status: Option<&InstallStatus>, resolved: &Resolved, runner: &RunnerReference) -> bool {
    status.is_some_and(|status| {
        status.runner_ref.as_ref() == Some(runner)
            && status.host.as_deref() == Some(resolved.host.as_str())
            && status.content_hash.as_deref() == Some(&resolved.identity.content_hash.to_string())
    })
}

fn refused(
    facts: &Facts,
    place: &Place,
    findings: &mut Findings,
    stage: Stage,
    trouble: Trouble,
) -> Prepared {
    let (reason, message) = trouble.because(place);
    if let Trouble::Write(error) = &trouble {
        tracing::warn!(install = %facts.key, ?place, %error, "the cluster refuses");
    }
    findings.refused(stage, Because { reason, message });
    match trouble {
        Trouble::Write(_) => Prepared::No,
        Trouble::Waiting { .. } | Trouble::Foreign { .. } => Prepared::Watched,
    }
}

fn mapped(resolved: &Resolved) -> Because {
    Because::new("DomainMapped", format!("Knative leads {} to the runner", resolved.host))
}

fn installed(resolved: &Resolved) -> Because {
    Because::new("Installed", format!("version {} is installed", resolved.version))
}

fn passed(resolved: &Resolved, findings: &mut Findings) {
    findings.passed(Stage::DomainReady, Because::new("DomainAnswers", format!("{} answers", resolved.host)));
    findings.passed(Stage::RunnerReady, Because::new("RunnerAnswers", "the runner serves this install"));
    findings.passed(Stage::Installed, installed(resolved));
}

/// The registry answers the runner by the status that was written a moment ago, and hears of it through a watch. To say for a moment that the
/// domain does not answer would be true, and no news to anybody.
const HEARD_OF_MS: [u64; 5] = [20, 50, 100, 250, 500];

/// Asks whether the host answers with the install's content. What it found otherwise is a refusal.
async fn probe(context: &Context, resolved: &Resolved, findings: &mut Findings) -> bool {
    let Some(runner) = &context.runner else { return true };
    let mut pauses = HEARD_OF_MS.map(Duration::from_millis).into_iter();
    let answer = loop {
        match (runner.probe(&resolved.host, &resolved.identity).await, pauses.next()) {
            (Err(ProbeError::Refused(_) | ProbeError::Other), Some(pause)) => tokio::time::sleep(pause).await,
            (answer, _) => break answer,
        }
    };
    match answer {
        Ok(()) => true,
        Err(error @ ProbeError::Unreachable) => {
            findings.passed(
                Stage::DomainReady,
                Because::new("DomainHeld", format!("{} is this install's", resolved.host)),
            );
            findings.refused(
                Stage::RunnerReady,
                Because::new("RunnerUnreachable", format!("{error}; it is tried again by itself")),
            );
            false
        }
        Err(error) => {
            runner.forget(&resolved.host);
            findings.refused(
                Stage::DomainReady,
                Because::new("DomainNotAnswering", format!("{error}; it is tried again by itself")),
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use annex_apis::{ExtensionVersion, ExtensionVersionSpec};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_answered_is_not_asked_again_after_an_outage() {
        let hash = format!("sha256:{}", "0a".repeat(32));
        let identity =
            json!({ "tenant_id": "acme", "extension_id": "com.example.hello", "content_hash": hash });
        let resolved = Resolved {
            version: "1.0.0".to_owned(),
            published: Arc::new(ExtensionVersion::new(
                "com.example.hello-1.0.0",
                ExtensionVersionSpec::default(),
            )),
            host: "acme--hello.apps.test".parse().unwrap(),
            identity: serde_json::from_value(identity).unwrap(),
            verified: true,
        };
        let runner = |name: &str| RunnerReference {
            mode: "knative".to_owned(),
            name: Some(name.to_owned()),
            ..RunnerReference::default()
        };
        let away = json!({ "type": "Ready", "status": "False", "reason": "ComputeUnreachable", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let answered: InstallStatus = serde_json::from_value(json!({
            "host": "acme--hello.apps.test", "contentHash": hash, "runnerRef": runner("runner"), "conditions": [away],
        }))
        .unwrap();
        let has = |status: InstallStatus| has_answered(Some(&status), &resolved, &runner("runner"));
        assert!(has(answered.clone()));
        assert!(!has_answered(None, &resolved, &runner("runner")));
        assert!(!has_answered(Some(&answered), &resolved, &runner("another")));
        assert!(
            !has(InstallStatus { runner_ref: None, ..answered.clone() }),
            "it has only been given its host"
        );
        assert!(!has(InstallStatus { host: Some("other.apps.test".to_owned()), ..answered.clone() }));
        assert!(!has(InstallStatus { content_hash: Some("sha256:0b".to_owned()), ..answered }));
    }

    #[test]
    fn only_who_answers_at_that_host_through_that_runner_takes_another_content_unasked() {
        let runner = RunnerReference { mode: "direct".to_owned(), ..RunnerReference::default() };
        let host: HostName = "acme--hello.apps.test".parse().unwrap();
        let is = |change: serde_json::Value, annotations: serde_json::Value| {
            let ready = |status: &str| {
                json!([{ "type": "Ready", "status": status, "reason": "Ready", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }])
            };
            let mut install = json!({ "metadata": { "name": "hello", "annotations": annotations },
                "spec": { "extension": "com.example.hello", "version": "1.0.0" },
                "status": { "host": host, "installedVersion": "1.0.0", "runnerRef": runner, "conditions": ready("True") } });
            for (field, value) in change.as_object().unwrap() {
                let ready = value.as_str().filter(|_| field == "conditions").map(ready);
                install["status"][field] = ready.unwrap_or_else(|| value.clone());
            }
            answers_at(&serde_json::from_value(install).unwrap(), &host, &runner)
        };
        assert!(is(json!({}), json!({})));
        assert!(!is(json!({ "conditions": "False" }), json!({})));
        assert!(!is(json!({ "conditions": [] }), json!({})));
        assert!(!is(json!({ "installedVersion": null }), json!({})));
        assert!(!is(json!({ "host": "other.apps.test" }), json!({})), "it moves");
        assert!(!is(json!({ "runnerRef": { "mode": "knative" } }), json!({})), "it moves");
        assert!(!is(json!({}), json!({ "annex.sh/reprovision": "now" })), "everything is made anew");
    }
}
