//! What is logged on a thread.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

thread_local! {
    static WRITTEN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct ThisThread;

impl io::Write for ThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| written.as_mut().map(|written| written.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that is logged on this thread from now on, of every level.
///
/// One subscriber for all threads: with one for each, a place that logs is switched off for good when another test's thread comes
/// by first.
pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| ThisThread)
            .init();
    });
    WRITTEN.set(Some(Vec::new()));
}

/// What was logged.
pub(crate) fn text() -> String {
    String::from_utf8(WRITTEN.with_borrow(|written| written.clone().unwrap())).unwrap()
}
