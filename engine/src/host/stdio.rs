//! What a guest writes to its standard streams: lines of the log.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::log::{Level, LineWriter, MAX_LINE_BYTES};

/// A standard stream whose writes become lines of the log. It never fails and never fills: a guest that prints too much loses
/// what it prints, not its life.
#[derive(Clone)]
pub(crate) struct Stdio(Arc<Mutex<Unfinished>>);

/// A line that has no end yet. Standard error comes in pieces, because nobody buffers it.
struct Unfinished {
    level: Level,
    line: Vec<u8>,
    lines: Arc<Mutex<LineWriter>>,
}

impl Stdio {
    pub(crate) fn new(level: Level, lines: Arc<Mutex<LineWriter>>) -> Self {
        Self(Arc::new(Mutex::new(Unfinished { level, line: Vec::new(), lines })))
    }
}

impl Unfinished {
    fn write(&mut self, mut bytes: &[u8]) {
        while let Some((line, rest)) = split_once(bytes) {
            self.append(line);
            self.end_line();
            bytes = rest;
        }
        self.append(bytes);
    }

    /// What is too long for a line goes on in another one, so that it is counted.
    fn append(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(MAX_LINE_BYTES) {
            if self.line.len() + chunk.len() > MAX_LINE_BYTES {
                self.end_line();
            }
            self.line.extend_from_slice(chunk);
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        if !line.is_empty() {
            self.lines.lock().write(self.level, line);
        }
        self.line.clear();
    }
}

impl Drop for Unfinished {
    /// The guest has ended, and so has its last line.
    fn drop(&mut self) {
        self.end_line();
    }
}

fn split_once(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line, rest.get(1..)?))
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
        self.0.lock().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(16 << 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallContext;
    use crate::host::KeptLog;

    fn printed(pieces: &[&[u8]]) -> Vec<String> {
        let context = CallContext {
            request_id: "r".into(),
            tenant: "acme".parse().unwrap(),
            extension: "com.example.notes".parse().unwrap(),
            version: "1.0.0".into(),
            install: "i".into(),
            config: "{}".into(),
        };
        let log = Arc::new(KeptLog::default());
        let lines = LineWriter::new(Arc::new(context), Arc::clone(&log) as _, 1 << 20);
        let mut stream = Stdio::new(Level::Info, Arc::new(Mutex::new(lines)));
        for piece in pieces {
            stream.write(Bytes::copy_from_slice(piece)).unwrap();
        }
        drop(stream);
        log.lines().into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn pieces_become_lines() {
        assert_eq!(printed(&[b"a", b"", b" b\nc\r\n\n  \nd", "é".as_bytes()]), ["a b", "c", "dé"]);
        assert_eq!(printed(&["é".as_bytes().split_at(1).0, "é".as_bytes().split_at(1).1]), ["é"]);
        assert!(printed(&[b"", b"\n"]).is_empty());
    }

    #[test]
    fn a_line_without_an_end_goes_on_in_others() {
        let piece = [b'x'; 1000];
        let lines = printed(&[&piece[..]; 10]);
        assert_eq!(lines.iter().map(String::len).sum::<usize>(), 10_000);
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE_BYTES));
        assert_eq!(printed(&[&[b'x'; MAX_LINE_BYTES + 1][..]]).len(), 2);
    }
}
