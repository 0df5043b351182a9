//! `log`, and what standard streams write.

use std::sync::Arc;

use super::budget::Budget;
use super::view::HostState;
use super::wit::log;
use crate::call::CallContext;

/// Where a guest's lines go.
///
/// It does not wait: a line is queued or dropped. What a guest writes is hostile, and a sink escapes it.
pub trait Log: Send + Sync {
    /// Takes one line of at most [`MAX_LINE_BYTES`].
    fn write(&self, context: &CallContext, level: Level, message: &str);
}

/// The longest line, in bytes. A longer one is cut.
pub const MAX_LINE_BYTES: usize = 4 << 10;

/// What a line costs besides its bytes: without it, a guest writes empty ones without an end.
const LINE_BYTES: usize = 16;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For whoever works on the extension.
    Debug,
    /// As it should be.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

/// Writes the lines of one call, as many as it may.
pub(crate) struct LineWriter {
    context: Arc<CallContext>,
    sink: Arc<dyn Log>,
    bytes: Budget,
}

impl LineWriter {
    pub(super) fn new(context: Arc<CallContext>, sink: Arc<dyn Log>, bytes: usize) -> Self {
        Self { context, sink, bytes: Budget::new(bytes) }
    }

    pub(super) fn write(&mut self, level: Level, message: &str) {
        let line = cut(message);
        if self.bytes.take(LINE_BYTES + line.len()) {
            self.sink.write(&self.context, level, line);
        }
    }

    /// Bytes of lines that were left out.
    pub(super) fn dropped(&self) -> usize {
        self.bytes.refused()
    }
}

fn cut(message: &str) -> &str {
    let end = message.floor_char_boundary(MAX_LINE_BYTES);
    message.get(..end).unwrap_or(message)
}

impl log::Host for HostState {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.lines.lock().write(level, &message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = format!("{}é", "x".repeat(MAX_LINE_BYTES - 1));
        assert_eq!(cut(&long), "x".repeat(MAX_LINE_BYTES - 1));
    }
}
