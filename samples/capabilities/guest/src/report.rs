//! log and metrics: what the operator sees.

use crate::annex::host::{log, metrics};

pub fn report(body: &[u8]) -> String {
    log::write(log::Level::Warn, &format!("a report of {} bytes", body.len()));
    metrics::count("reports", 1);
    metrics::observe("report_bytes", body.len() as f64);
    // What is printed is in the log as well: what goes to stderr, as a panic does, with the level of an error.
    println!("a report came in");
    "thank you".into()
}
