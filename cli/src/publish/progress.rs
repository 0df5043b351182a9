//! How far an upload is, on a terminal.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

/// Counts the bytes that were taken off our hands. Cheap to clone.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    sent: Arc<AtomicU64>,
    total: u64,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        // A log has no use for it.
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let style = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message("sending");
        Self { bar, sent: Arc::default(), total }
    }

    pub(super) fn add(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.bar.inc(bytes);
        if self.sent.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.total {
            self.bar.set_message("verifying");
        }
    }

    /// How many bytes there were until now.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
