//! What a guest writes to its standard streams: lines of the log.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::log::{Level, LineWriter};

/// A standard stream whose writes become lines of the log. It never fails and never fills: a guest that prints too much loses
/// what it prints, not its life.
#[derive(Clone)]
pub(crate) struct Stdio {
    level: Level,
    lines: Arc<Mutex<LineWriter>>,
}

impl Stdio {
    pub(crate) fn new(level: Level, lines: Arc<Mutex<LineWriter>>) -> Self {
        Self { level, lines }
    }
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Asked for by versions of WASI that are not linked.
        Box::new(tokio::io::sink())
    }
}

#[async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}

impl OutputStream for Stdio {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = self.lines.lock();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            lines.write(self.level, line);
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(16 << 10)
    }
}
