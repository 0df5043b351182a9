//! What runs, and whether it is ready.

use anyhow::Result;

use crate::kubeconfig::Endpoint;
use crate::part::Part;
use crate::progress::say;
use crate::settings::Settings;
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
    let rows = Part::ALL.map(|part| row(&stack, part)).into_iter().collect::<Result<Vec<_>>>()?;
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
    say(&format!("domains     http://*.{}:{}", settings.domain_root, settings.runner_port));
    for part in Part::SERVICES {
        say(&format!("{:<11} {}/metrics", part.name(), settings.ops_url(part)));
    }
    say(&format!("kubeconfigs {} (administrator)", paths.kcp_kubeconfig().display()));
    say(&format!("            {} (a tenant)", paths.user_kubeconfig("alice").display()));
    say(&format!("kubectl     {}", stack.kubectl_path().display()));
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
        format!("{name:<12} {pid:>8}  {state:<12} {port:>6}  {log}\n")
    };
    let mut text = line("NAME", "PID", "STATE", "PORT", "LOG");
    for Row { name, pid, state, port, log, .. } in rows {
        text.push_str(&line(name, pid, state, port, log));
    }
    text
}
