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
}

#[derive(Debug, Default)]
struct State {
    frozen: bool,
    /// Of reads and writes that wait for the thaw. There is one task per connection, so these are few.
    waiting: Vec<Waker>,
    close: Option<Close>,
    /// What is to be sent before the close was sent.
    flushed: bool,
    go_away: bool,
}

impl Control {
    pub(super) fn new(frozen: bool) -> Self {
        Self { state: Mutex::new(State { frozen, ..State::default() }), changes: Changes::default() }
    }

    /// Closes now.
    pub(crate) fn close(&self, how: Close) {
        let mut state = self.state.lock();
        state.close = Some(how);
        state.flushed = true;
        drop(state);
        self.changes.wake();
    }

    /// Closes once what was written is with the kernel.
    pub(crate) fn close_when_flushed(&self, how: Close) {
        self.state.lock().close.get_or_insert(how);
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
        let mut state = self.state.lock();
        if state.close.is_some() && !state.flushed {
            state.flushed = true;
            drop(state);
            self.changes.wake();
        }
    }

    /// Until it is to be closed.
    pub(super) async fn closed(&self) -> Close {
        self.changes
            .until(|| {
                let state = self.state.lock();
                state.close.filter(|_| state.flushed)
            })
            .await
    }

    /// Until it is to take no further request.
    pub(super) async fn gone_away(&self) {
        self.changes.until(|| self.state.lock().go_away.then_some(())).await;
    }
}
