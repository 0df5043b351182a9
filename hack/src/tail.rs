//! The end of a log, for an error message.

use std::fs;
use std::path::Path;

/// `; the end of PATH:` and its last lines.
pub(crate) fn of(path: &Path) -> String {
    const LINES: usize = 20;
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    format!("; the end of {}:\n    {}", path.display(), last.join("\n    "))
}
