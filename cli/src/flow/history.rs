//! `kubectl annex history`: the flows of an Install.

use std::fmt::Write as _;

use annex_apis::{Flow, FlowRecord, FlowStage, Install, StageStatus};
use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

use super::words::{action, change, status, told};
use super::workspace::{InstallArguments, Workspace};
use crate::args::Output;
use crate::catalog::aligned;
use crate::explain::age;
use crate::format;
use crate::outcome::Failure;
use crate::printable::one_line;
use crate::server::block_on;

pub(crate) const HELP: &str = "\
Shows the flow that is under way, or the last one, with each of its stages, and below it the flows that have ended, the newest first. \
spec.historyLimit says how many of them are kept.

Examples:
  kubectl annex history install/notes
  kubectl annex history install/notes -o json

Exit codes: 0 shown, however the flows ended, 2 wrong usage, 3 it could not be read (not there, forbidden, no connection, no kubeconfig).";

#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    #[command(flatten)]
    pub(crate) install: InstallArguments,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Reads the Install and shows its flows.
pub(crate) fn run(arguments: &HistoryArguments) -> Result<String, Failure> {
    let given = &arguments.install;
    let install = block_on(async {
        let workspace = Workspace::connect(&given.server, given.namespace.as_deref()).await?;
        workspace.install(&given.target).await
    })??;
    let history = History::of(&install);
    match arguments.output {
        Output::Text => Ok(render(&history, Timestamp::now())),
        Output::Json => format::json(&history),
    }
}

/// All that is said; printed as JSON, its field names are an interface.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct History {
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<Current>,
    /// The newest first.
    history: Vec<Ended>,
}

/// The flow under way, or the last one.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Current {
    #[serde(flatten)]
    flow: Ended,
    /// It has failed, and what it did is being undone.
    rolling_back: bool,
    /// When it is begun again by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    again_at: Option<Timestamp>,
    stages: Vec<Stage>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    id: String,
    action: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stage {
    name: String,
    status: &'static str,
    retries: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl History {
    fn of(install: &Install) -> Self {
        let status = install.status.as_ref();
        Self {
            namespace: one_line(&install.namespace().unwrap_or_default()),
            name: one_line(&install.name_any()),
            flow: status.and_then(|status| status.flow.as_ref()).map(Current::of),
            history: status.into_iter().flat_map(|status| &status.history).map(Ended::of).collect(),
        }
    }
}

impl Current {
    fn of(flow: &Flow) -> Self {
        Self {
            flow: Ended {
                id: one_line(&flow.id),
                action: action(flow.action),
                status: status(flow.status),
                from: told(flow.from.as_deref()),
                to: told(flow.to.as_deref()),
                started_at: flow.started_at.0,
                finished_at: flow.finished_at.as_ref().map(|time| time.0),
                reason: None,
                message: None,
            },
            rolling_back: flow.status == StageStatus::Failed && flow.finished_at.is_none(),
            again_at: flow.again_at.as_ref().map(|time| time.0),
            stages: flow.stages.iter().map(Stage::of).collect(),
        }
    }
}

impl Ended {
    fn of(record: &FlowRecord) -> Self {
        Self {
            id: one_line(&record.id),
            action: action(record.action),
            status: status(record.status),
            from: told(record.from.as_deref()),
            to: told(record.to.as_deref()),
            started_at: record.started_at.0,
            finished_at: record.finished_at.as_ref().map(|time| time.0),
            reason: told(record.reason.as_deref()),
            message: told(record.message.as_deref()),
        }
    }

    fn change(&self) -> String {
        change(self.from.as_deref(), self.to.as_deref())
    }
}

impl Stage {
    fn of(stage: &FlowStage) -> Self {
        Self {
            name: one_line(&stage.name),
            status: status(stage.status),
            retries: stage.retries,
            started_at: stage.started_at.as_ref().map(|time| time.0),
            finished_at: stage.finished_at.as_ref().map(|time| time.0),
            next_try_at: stage.next_try_at.as_ref().map(|time| time.0),
            reason: told(stage.reason.as_deref()),
            message: told(stage.message.as_deref()),
        }
    }
}

/// For people. `now` is what times are counted to.
fn render(history: &History, now: Timestamp) -> String {
    let mut text = format!("install/{} in namespace {}\n", history.name, history.namespace);
    match &history.flow {
        Some(current) => flow(&mut text, current, now),
        None => text.push_str("\nThere has been no flow yet.\n"),
    }
    if !history.history.is_empty() {
        text.push_str("\nEnded, the newest first:\n");
        text.push_str(&indented(&ended(&history.history, now)));
    }
    text
}

fn flow(text: &mut String, current: &Current, now: Timestamp) {
    let flow = &current.flow;
    let state = match flow.finished_at {
        Some(end) => {
            format!("{}, {} ago, after {}", flow.status, age(end, now), age(flow.started_at, end))
        }
        None if current.rolling_back => {
            format!("{}: it has failed, and what it did is being undone", flow.status)
        }
        None => format!("{}, since {}", flow.status, age(flow.started_at, now)),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{} {}: {state}", flow.action, flow.change());
    if let Some(again) = current.again_at {
        let _ = writeln!(text, "  it is begun again by itself {}", due(again, now));
    }
    let rows: Vec<Vec<String>> = current.stages.iter().map(|stage| row(stage, now)).collect();
    for (line, stage) in aligned(&rows).lines().zip(&current.stages) {
        let _ = writeln!(text, "  {line}");
        if let Some(message) = &stage.message {
            let _ = writeln!(text, "      {message}");
        }
    }
}

fn row(stage: &Stage, now: Timestamp) -> Vec<String> {
    let took = stage.started_at.map(|start| age(start, stage.finished_at.unwrap_or(now)));
    let mut said: Vec<String> = stage.reason.clone().into_iter().collect();
    match stage.retries {
        ..=0 => {}
        1 => said.push("1 retry".to_owned()),
        more => said.push(format!("{more} retries")),
    }
    said.extend(stage.next_try_at.map(|at| format!("tried again {}", due(at, now))));
    vec![stage.name.clone(), stage.status.to_owned(), took.unwrap_or_default(), said.join(", ")]
}

fn due(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", age(now, at)) } else { "now".to_owned() }
}

fn ended(records: &[Ended], now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            let when = age(record.finished_at.unwrap_or(record.started_at), now);
            let said = [record.reason.as_deref(), record.message.as_deref()];
            let said: Vec<&str> = said.into_iter().flatten().collect();
            vec![
                format!("{when} ago"),
                record.action.to_owned(),
                record.change(),
                record.status.to_owned(),
                said.join(": "),
            ]
        })
        .collect();
    aligned(&rows)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::flow::choice::tests::install;

    fn now() -> Timestamp {
        "2026-11-23T12:10:00Z".parse().unwrap()
    }

    fn flow() -> Value {
        json!({
            "id": "f2", "action": "Upgrade", "status": "IN_PROGRESS", "from": "2.0.0", "to": "3.0.0",
            "startedAt": "2026-11-23T12:00:00Z",
            "stages": [
                {"name": "Resolve", "status": "FINISHED", "startedAt": "2026-11-23T12:00:00Z", "finishedAt": "2026-11-23T12:00:01Z"},
                {
                    "name": "Lifecycle/main", "status": "IN_PROGRESS", "startedAt": "2026-11-23T12:00:01Z", "retries": 2,
                    "nextTryAt": "2026-11-23T12:10:30Z", "reason": "LifecycleFailed", "message": "it said\u{1b}[2J no\nNext: rm",
                },
                {"name": "Publish", "status": "QUEUED"},
            ],
        })
    }

    fn records() -> Value {
        json!([
            {
                "id": "f1", "action": "Upgrade", "status": "CANCELLED", "from": "2.0.0", "to": "3.0.0-rc.1",
                "startedAt": "2026-11-23T11:00:00Z", "finishedAt": "2026-11-23T11:10:00Z",
                "reason": "LifecycleFailed", "message": "no\u{202e} table",
            },
            {"id": "f0", "action": "Install", "status": "FINISHED", "to": "2.0.0", "startedAt": "2026-11-20T11:00:00Z"},
        ])
    }

    fn said(status: &Value) -> String {
        render(&History::of(&install(status)), now())
    }

    #[test]
    fn a_flow_under_way_with_its_stages_and_those_before_it() {
        assert_eq!(
            said(&json!({"flow": flow(), "history": records()})),
            "\
install/hello in namespace team

Upgrade 2.0.0 → 3.0.0: IN_PROGRESS, since 10m
  Resolve          FINISHED      1s
  Lifecycle/main   IN_PROGRESS   9m   LifecycleFailed, 2 retries, tried again in 30s
      it said [2J no Next: rm
  Publish          QUEUED

Ended, the newest first:
  60m ago   Upgrade   2.0.0 → 3.0.0-rc.1   CANCELLED   LifecycleFailed: no table
  3d ago    Install   none → 2.0.0         FINISHED
"
        );
    }

    #[test]
    fn one_that_is_being_undone_says_so_and_one_that_ended_when() {
        let mut undone = flow();
        undone["status"] = json!("FAILED");
        let text = said(&json!({"flow": undone}));
        assert!(text.contains("3.0.0: FAILED: it has failed, and what it did is being undone\n"), "{text}");
        undone["finishedAt"] = json!("2026-11-23T12:08:00Z");
        undone["againAt"] = json!("2026-11-23T12:15:00Z");
        let text = said(&json!({"flow": undone}));
        assert!(text.contains("3.0.0: FAILED, 2m ago, after 8m\n"), "{text}");
        assert!(text.contains("  it is begun again by itself in 5m\n"), "{text}");
    }

    #[test]
    fn none_yet() {
        assert_eq!(said(&json!({})), "install/hello in namespace team\n\nThere has been no flow yet.\n");
    }

    #[test]
    fn json_has_the_same_in_fields() {
        let mut failed = flow();
        failed["status"] = json!("FAILED");
        let status = json!({"flow": failed, "history": records()});
        let json = serde_json::to_value(History::of(&install(&status))).unwrap();
        assert_eq!((&json["name"], &json["flow"]["rollingBack"]), (&json!("hello"), &json!(true)));
        assert_eq!((&json["flow"]["id"], &json["flow"]["to"]), (&json!("f2"), &json!("3.0.0")));
        let stage = &json["flow"]["stages"][1];
        assert_eq!((&stage["retries"], &stage["message"]), (&json!(2), &json!("it said [2J no Next: rm")));
        assert_eq!(json["flow"]["stages"][2].get("startedAt"), None);
        assert_eq!(json["history"][0]["status"], "CANCELLED");
        assert_eq!(json["history"].as_array().unwrap().len(), 2);
    }
}
