//! The clock that running guests are interrupted by.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Advances an engine's epoch at each tick, on a thread of its own: one of the executor could be held by the very guest that
/// it must interrupt. The thread ends with the value.
#[derive(Debug)]
pub(crate) struct Ticker {
    /// Dropped first, which is what the thread ends on.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(engine: wasmtime::Engine, tick: Duration) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        // Ticks that were missed are not made up for: an epoch is a sign to look at the clock, not a measure of time.
        let thread = thread::Builder::new().name("annex-epoch".to_owned()).spawn(move || {
            while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panics nowhere, and in a destructor there is nobody to tell.
            let _ = thread.join();
        }
    }
}
