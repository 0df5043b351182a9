use std::pin::pin;

use tokio::sync::Notify;

/// Lets tests and watches wait for what others do.
#[derive(Debug, Default)]
pub(crate) struct Changes(Notify);

impl Changes {
    /// Something has changed.
    pub(crate) fn wake(&self) {
        self.0.notify_waiters();
    }

    /// Waits until `check` gives something. It is asked again after each change, and no change is missed.
    pub(crate) async fn until<T>(&self, mut check: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.0.notified());
            changed.as_mut().enable();
            if let Some(found) = check() {
                return found;
            }
            changed.await;
        }
    }
}
