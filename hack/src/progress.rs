//! What a person sees while something takes time. On standard error: results go to standard output.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// After this long without a word a person wonders whether it still works.
const REMINDER: Duration = Duration::from_secs(10);

/// A line of the result. A reader who has seen enough (`| head`) is no reason to stop halfway.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Does something, and says in one line what it was and how long it took.
pub(crate) fn step<T>(name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let (done, waiting) = mpsc::channel::<()>();
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            while waiting.recv_timeout(REMINDER) == Err(RecvTimeoutError::Timeout) {
                note(&format!("{name}: {} s so far", started.elapsed().as_secs()));
            }
        });
        let result = action();
        drop(done);
        result
    });
    if result.is_ok() {
        tell(&format!("{:>7}  {name}", seconds(started.elapsed())));
    }
    result
}

/// A remark between two steps.
pub(crate) fn note(text: &str) {
    tell(&format!("     …  {text}"));
}

/// An error with its causes, one a line.
pub fn print_error(error: &anyhow::Error) {
    tell(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        tell(&format!("  because: {cause}"));
    }
}

/// `3.2s`, or `2m05s` where tenths say nothing any more.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 100 {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        format!("{}m{:02}s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(3_210)), "3.2s");
        assert_eq!(seconds(Duration::from_secs(125)), "2m05s");
    }
}
