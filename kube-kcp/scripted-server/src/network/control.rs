use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::changes::Changes;

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// As TLS wants it.
    Notified,
    /// By TCP alone.
    Unnotified,
    /// By a reset.
    Reset,
}

/// What is done to a connection from outside of it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    state: Mutex<State>,
    changes: Changes,
    /// Apart from the other changes: the connection's task waits for those, and would be woken by its own flushes.
    flushed: Changes,
}

#[derive(Debug, Default)]
struct State {
    frozen: bool,
    /// Of reads and writes that wait for the thaw. There is one task per connection, so these are few.
    waiting: Vec<Waker>,
    close: Option<Close>,
    /// How often all that was written has gone to the kernel.
    flushes: u64,
    go_away: bool,
    http2: bool,
}

impl Control {
    pub(super) fn new(frozen: bool) -> Self {
        Self { state: Mutex::new(State { frozen, ..State::default() }), ..Self::default() }
    }

    /// Closes now.
    pub(crate) fn close(&self, how: Close) {
        self.state.lock().close.get_or_insert(how);
        self.changes.wake();
    }

    /// Until what was written before is with the kernel.
    pub(crate) async fn flushed(&self) {
        let before = self.state.lock().flushes;
        // The connection's task looks at this too: woken, it flushes, also if there is nothing left to write.
        self.changes.wake();
        self.flushed.until(|| (self.state.lock().flushes > before).then_some(())).await;
    }

    pub(crate) fn speaks_http2(&self) -> bool {
        self.state.lock().http2
    }

    pub(super) fn set_http2(&self, http2: bool) {
        self.state.lock().http2 = http2;
    }

    /// Takes no further request.
    pub(crate) fn go_away(&self) {
        self.state.lock().go_away = true;
        self.changes.wake();
    }

    /// Stops reading and writing, or goes on with it.
    pub(super) fn freeze(&self, frozen: bool) {
        let mut state = self.state.lock();
        state.frozen = frozen;
        let waiting = if frozen { Vec::new() } else { std::mem::take(&mut state.waiting) };
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn poll_thawed(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.frozen {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    pub(super) fn was_flushed(&self) {
        self.state.lock().flushes += 1;
        self.flushed.wake();
    }

    /// Until it is to be closed.
    pub(super) async fn closed(&self) -> Close {
        self.changes.until(|| self.state.lock().close).await
    }

    /// Until it is to take no further request.
    pub(super) async fn gone_away(&self) {
        self.changes.until(|| self.state.lock().go_away.then_some(())).await;
    }
}
