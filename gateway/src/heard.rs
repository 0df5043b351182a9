//! Calls that come before this gateway has heard of what they are for.
//!
//! Whoever waits until an Install says Ready calls it at once. kcp tells each watch of that by itself, and this gateway's may be the last.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::app::App;

/// So long it is waited for. What nobody has ever heard of is refused that much later.
const WITHIN: Duration = Duration::from_secs(2);
/// So many wait at a time. Whoever asks for hosts that there are not holds up nobody else, and no more than this.
const AT_MOST: usize = 256;

/// The places of those that wait.
#[derive(Debug)]
pub struct Early(Semaphore);

impl Default for Early {
    fn default() -> Self {
        Self(Semaphore::new(AT_MOST))
    }
}

/// What `look` finds among the Installs, at once or when it is told within moments.
pub(crate) async fn once_heard<T>(app: &App, look: impl Fn() -> Option<T>) -> Option<T> {
    if let Some(found) = look() {
        return Some(found);
    }
    let _place = app.early.0.try_acquire().ok()?;
    let mut changes = app.installs.subscribe();
    let heard = async {
        loop {
            // Before the look: what changes after it wakes this.
            changes.borrow_and_update();
            if let Some(found) = look() {
                return Some(found);
            }
            changes.changed().await.ok()?;
        }
    };
    tokio::time::timeout(WITHIN, heard).await.ok().flatten()
}
