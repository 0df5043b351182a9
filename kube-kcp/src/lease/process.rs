use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

/// A process that can be stopped, as by SIGSTOP: none of its code runs then, while its clock and what it has sent go on.
#[derive(Clone)]
pub(super) struct Process {
    resumes: Arc<Mutex<Instant>>,
    /// Called whenever some of its code has run.
    ran: Arc<dyn Fn(&Self) + Send + Sync>,
}

impl Process {
    pub(super) fn new(ran: impl Fn(&Self) + Send + Sync + 'static) -> Self {
        Self { resumes: Arc::new(Mutex::new(Instant::now())), ran: Arc::new(ran) }
    }

    pub(super) fn stop(&self, time: Duration) {
        *self.resumes.lock() = Instant::now() + time;
    }

    pub(super) fn run<T>(&self, code: impl Future<Output = T> + Send + 'static) -> Code<T> {
        Code {
            process: self.clone(),
            code: Box::pin(code),
            resumed: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }
}

/// A future of a [`Process`].
pub(super) struct Code<T> {
    process: Process,
    code: BoxFuture<'static, T>,
    resumed: Pin<Box<Sleep>>,
}

impl<T> Future for Code<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let resumes = *self.process.resumes.lock();
        if Instant::now() < resumes {
            self.resumed.as_mut().reset(resumes);
            if self.resumed.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        let polled = self.code.as_mut().poll(context);
        (self.process.ran)(&self.process);
        polled
    }
}
