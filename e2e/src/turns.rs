//! Whose turn it is, among the tests of one environment.

use std::{io::Write as _, time::Instant};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Tests that use an environment beside each other, or alone where they stop parts of it.
#[derive(Debug, Default)]
pub struct Turns(RwLock<()>);

impl Turns {
    /// Before anybody's turn.
    #[must_use]
    pub const fn new() -> Self {
        Self(RwLock::const_new(()))
    }

    /// The environment beside other tests, until this is dropped.
    pub async fn shared(&'static self) -> Shared {
        Shared { _turn: self.0.read().await, _timed: Timed(Instant::now()) }
    }

    /// The environment with no other test at work, until this is dropped.
    pub async fn alone(&'static self) -> Alone {
        Alone { _turn: self.0.write().await, _timed: Timed(Instant::now()) }
    }
}

/// A test's turn beside others.
#[derive(Debug)]
pub struct Shared {
    _turn: RwLockReadGuard<'static, ()>,
    _timed: Timed,
}

/// A test's turn alone.
#[derive(Debug)]
pub struct Alone {
    _turn: RwLockWriteGuard<'static, ()>,
    _timed: Timed,
}

/// Says in the end what a test took, whether it is captured or not: a suite on real servers is as long as somebody watches it.
#[derive(Debug)]
struct Timed(Instant);

impl Drop for Timed {
    fn drop(&mut self) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "{:>6.1} s  {name}", self.0.elapsed().as_secs_f64());
    }
}
