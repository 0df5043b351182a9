//! A report for people.

use std::fmt::Write;

use jiff::Timestamp;

use super::condition::{Condition, ConditionStatus};
use super::report::Report;

/// The report as text of several lines. `now` is what ages are counted to.
pub(crate) fn render(report: &Report, now: Timestamp) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, report, now);
    text
}

fn write(text: &mut String, report: &Report, now: Timestamp) -> std::fmt::Result {
    writeln!(text, "{}/{} in namespace {}", report.kind, report.name, report.namespace)?;
    for (name, value) in header(report) {
        writeln!(text, "  {name:<10} {value}")?;
    }
    for note in &report.notes {
        writeln!(text, "\nNote: {note}")?;
    }
    if !report.conditions.is_empty() {
        writeln!(text)?;
    }
    let width = report.conditions.iter().map(|condition| condition.kind.chars().count()).max().unwrap_or(0);
    for condition in &report.conditions {
        write_condition(text, condition, width, now)?;
    }
    writeln!(text, "\nNext: {}\n  {}", report.next.advice, report.next.command)
}

fn header(report: &Report) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(extension) = &report.extension {
        lines.push(("extension", extension.clone()));
    }
    match (&report.version, &report.requested_version) {
        (Some(version), Some(requested)) => {
            lines.push(("version", format!("{version} (asked for: {requested})")))
        }
        (Some(version), None) => lines.push(("version", version.clone())),
        (None, Some(requested)) => lines.push(("version", format!("none yet (asked for: {requested})"))),
        (None, None) => {}
    }
    let ready = if report.ready { "yes" } else { "no" };
    // Where Ready is true and yet it is not, a note says why.
    lines.push(match &report.reason {
        Some(reason) if !report.ready && reason != "Ready" => ("ready", format!("{ready}, {reason}")),
        _ => ("ready", ready.to_owned()),
    });
    if let Some(url) = &report.url {
        lines.push(("url", url.clone()));
    }
    lines
}

fn write_condition(
    text: &mut String,
    condition: &Condition,
    width: usize,
    now: Timestamp,
) -> std::fmt::Result {
    let mark = match condition.status {
        ConditionStatus::True => '✓',
        ConditionStatus::False => '✗',
        ConditionStatus::Unknown => '…',
    };
    write!(text, "  {mark} {:<width$}", condition.kind)?;
    if !condition.reason.is_empty() {
        write!(text, "  {}", condition.reason)?;
    }
    if let Some(since) = condition.since {
        write!(text, ", since {}", age(since, now))?;
    }
    writeln!(text)?;
    if !condition.message.is_empty() {
        writeln!(text, "      {}", condition.message)?;
    }
    Ok(())
}

/// In the largest unit of which there are at least two. A clock that is behind the server's gives `0s`.
pub(crate) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        for (since, expected) in [
            ("2026-11-23T12:00:09Z", "0s"),
            ("2026-11-23T11:58:01Z", "119s"),
            ("2026-11-23T11:58:00Z", "2m"),
            ("2026-11-23T10:00:01Z", "119m"),
            ("2026-11-23T10:00:00Z", "2h"),
            ("2026-11-21T12:00:00Z", "2d"),
        ] {
            assert_eq!(age(since.parse().unwrap(), now), expected, "{since}");
        }
    }
}
