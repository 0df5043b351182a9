//! What runs, and whether it is ready.

use anyhow::{Result, anyhow};

use crate::compute::Component;
use crate::kubeconfig::Endpoint;
use crate::part::Part;
use crate::progress::say;
use crate::settings::{ComputeMode, Settings};
use crate::stack::Stack;

struct Row {
    name: String,
    pid: String,
    state: String,
    port: String,
    log: String,
    reason: Option<String>,
}

/// Prints the table and the addresses; true when everything is ready.
pub(crate) fn print(settings: Settings) -> Result<bool> {
    let stack = Stack::as_is(settings)?;
    let elsewhere = stack.settings().kcp_kubeconfig.is_some().then_some(Part::Kcp);
    let parts = elsewhere.into_iter().chain(stack.settings().parts());
    let mut rows = parts.map(|part| row(&stack, part)).collect::<Result<Vec<_>>>()?;
    rows.extend(compute_rows(&stack)?);
    say(table(&rows).trim_end());
    for row in &rows {
        if let Some(reason) = &row.reason {
            say(&format!("{}: {reason}", row.name));
        }
    }
    say("");
    print_addresses(&stack);
    Ok(rows.iter().all(|row| row.state == "ready"))
}

/// Where a person finds things.
pub(crate) fn print_addresses(stack: &Stack) {
    let (settings, paths) = (stack.settings(), stack.paths());
    if let Ok(endpoint) = Endpoint::read(&paths.kcp_kubeconfig()) {
        say(&format!("kcp         {}", endpoint.base));
    }
    let (scheme, port) = settings.domain_scheme_and_port();
    say(&format!("domains     {scheme}://*.{}:{port}", settings.domain_root));
    if settings.tls {
        say(&format!("            {} (their certificate authority)", paths.domains_ca().display()));
    }
    for part in settings.services() {
        say(&format!("{:<11} {}{}", part.name(), settings.ops_url(part), metrics_path(part)));
    }
    say(&format!("kubeconfigs {} (administrator)", paths.kcp_kubeconfig().display()));
    say(&format!("            {} (a tenant)", paths.user_kubeconfig("alice").display()));
    if settings.compute == ComputeMode::Knative {
        say(&format!(
            "            {} (the compute cluster's administrator)",
            paths.compute_kubeconfig().display()
        ));
    }
    say(&format!("kubectl     {}", stack.kubectl_path().display()));
}

fn metrics_path(part: Part) -> &'static str {
    if part == Part::Ingress { "/stats/prometheus" } else { "/metrics" }
}

/// What the compute cluster is made of; the last line is what runs on it.
fn compute_rows(stack: &Stack) -> Result<Vec<Row>> {
    let settings = stack.settings();
    if settings.compute == ComputeMode::Direct {
        return Ok(Vec::new());
    }
    let cluster = |state: Result<()>, log: &str| Row {
        name: "compute".to_owned(),
        pid: "-".to_owned(),
        state: if state.is_ok() { "ready" } else { "unreachable" }.to_owned(),
        port: "-".to_owned(),
        log: log.to_owned(),
        reason: state.err().map(|error| format!("{error:#}")),
    };
    let Ok(compute) = stack.compute() else {
        let elsewhere = settings.compute_kubeconfig.is_some();
        let version = ["--request-timeout=5s", "get", "--raw", "/version"];
        let state = stack.compute_admin().run(&version).map(drop);
        return Ok(vec![cluster(state, if elsewhere { "(runs elsewhere)" } else { "-" })]);
    };
    let mut rows = Vec::new();
    for component in Component::ALL {
        let pid = compute.pid(component)?;
        let checked = match pid {
            None => Err(anyhow!("not running: `cargo xtask up` starts it")),
            Some(_) => compute.check(component).map_err(|error| error.context("not ready")),
        };
        let state = match (&checked, pid) {
            (Ok(()), _) => "ready",
            (Err(_), Some(_)) => "running",
            (Err(_), None) => "stopped",
        };
        rows.push(Row {
            name: component.to_string(),
            pid: pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            state: state.to_owned(),
            port: "-".to_owned(),
            log: stack.paths().compute_log(component).display().to_string(),
            reason: checked.err().map(|error| format!("{error:#}")),
        });
    }
    let pods = stack.paths().logs().join("pods").display().to_string();
    rows.push(cluster(compute.check_ready(), &pods));
    Ok(rows)
}

fn row(stack: &Stack, part: Part) -> Result<Row> {
    let elsewhere = part == Part::Kcp && stack.settings().kcp_kubeconfig.is_some();
    let pid = stack.pid(part)?;
    let (state, reason) = if pid.is_none() && !elsewhere {
        ("stopped", Some("not running: `cargo xtask up` starts it".to_owned()))
    } else {
        match stack.check_ready(part) {
            Ok(()) => ("ready", None),
            Err(error) if elsewhere => ("unreachable", Some(format!("{error:#}"))),
            Err(error) => ("running", Some(format!("not ready: {error:#}"))),
        }
    };
    let dash = || "-".to_owned();
    Ok(Row {
        name: part.to_string(),
        pid: pid.map_or_else(dash, |pid| pid.to_string()),
        state: state.to_owned(),
        port: if elsewhere { dash() } else { stack.settings().ops_port(part).to_string() },
        log: if elsewhere {
            "(runs elsewhere)".to_owned()
        } else {
            stack.paths().log(part).display().to_string()
        },
        reason,
    })
}

fn table(rows: &[Row]) -> String {
    let line = |name: &str, pid: &str, state: &str, port: &str, log: &str| {
        format!("{name:<24} {pid:>8}  {state:<12} {port:>6}  {log}\n")
    };
    let mut text = line("NAME", "PID", "STATE", "PORT", "LOG");
    for Row { name, pid, state, port, log, .. } in rows {
        text.push_str(&line(name, pid, state, port, log));
    }
    text
}
