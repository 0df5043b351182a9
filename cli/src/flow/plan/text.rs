//! An outlook for people.

use std::fmt::Write;

use super::outlook::Outlook;
use crate::flow::words::change;

/// The outlook as text of several lines.
pub(super) fn render(outlook: &Outlook) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, outlook);
    text
}

fn write(text: &mut String, outlook: &Outlook) -> std::fmt::Result {
    writeln!(text, "install/{} in namespace {}", outlook.name, outlook.namespace)?;
    let to = outlook.to.as_deref();
    match outlook.action {
        Some(action) => {
            let change = change(outlook.from.as_deref(), to);
            writeln!(text, "  {action} of {}, {change}", outlook.extension)?;
        }
        None => {
            let is = change(outlook.from.as_deref(), to.or(outlook.from.as_deref()));
            writeln!(text, "  nothing to do: {}, {is}", outlook.extension)?;
        }
    }
    if !outlook.stages.is_empty() {
        writeln!(text, "\nStages:")?;
    }
    let width = outlook.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
    for stage in &outlook.stages {
        let mut name = stage.name.as_str();
        for does in &stage.does {
            writeln!(text, "  {name:<width$}  {does}")?;
            name = "";
        }
    }
    let needs: Vec<&str> = outlook.dependencies.iter().map(|dependency| dependency.said.as_str()).collect();
    section(text, "It needs", &needs)?;
    let along: Vec<String> = outlook
        .along
        .iter()
        .map(|along| format!("{} {} for {}", along.extension, along.version, along.needed_by.join(", ")))
        .collect();
    section(text, "Installed along", &along)?;
    section(text, "Blocked", &outlook.blocked)?;
    outlook.notes.iter().try_for_each(|note| writeln!(text, "\nNote: {note}"))
}

fn section(text: &mut String, title: &str, lines: &[impl AsRef<str>]) -> std::fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{title}:")?;
    lines.iter().try_for_each(|line| writeln!(text, "  {}", line.as_ref()))
}
