//! What a server answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use annex_engine::EgressError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::failure;
use crate::meter::Meter;
use crate::slots::Slot;

/// What a request holds until its answer has come to an end, or until nobody wants it any more: the task of its connection, and
/// its slot.
pub(crate) type Held = (AbortOnDropHandle<()>, Arc<Slot>);

/// A server's body, of a bounded size, that comes in a bounded time. When it is dropped the connection is closed.
pub(crate) struct IncomingBody {
    body: Incoming,
    left: u64,
    /// While the next part is waited for. A guest that takes its time with the last one does not count.
    pause: Option<Pin<Box<Sleep>>>,
    between_bytes: Duration,
    ends: Pin<Box<Sleep>>,
    meter: Arc<Meter>,
    /// None: it has ended.
    held: Option<Held>,
}

impl IncomingBody {
    pub(crate) fn new(
        body: Incoming,
        bytes: u64,
        between_bytes: Duration,
        ends: Instant,
        meter: Arc<Meter>,
        held: Held,
    ) -> Self {
        let ends = Box::pin(sleep_until(ends));
        // Nobody asks a body that is empty for its end.
        let held = (!body.is_end_stream()).then_some(held);
        Self { body, left: bytes, pause: None, between_bytes, ends, meter, held }
    }

    /// Closes the connection. What is read of the body from now on is nothing.
    fn fail(&mut self, error: EgressError) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        self.held = None;
        self.meter.metrics().failed(error);
        Poll::Ready(Some(Err(error)))
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let between_bytes = self.between_bytes;
        self.pause.get_or_insert_with(|| Box::pin(sleep(between_bytes))).as_mut().poll(cx)
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = EgressError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let this = &mut *self;
        if this.held.is_none() {
            return Poll::Ready(None);
        }
        // First, so that a server that always has more does not keep it from being looked at.
        if this.ends.as_mut().poll(cx).is_ready() {
            return this.fail(EgressError::Timeout);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.pause = None;
                let Ok(data) = frame.into_data() else {
                    this.held = None;
                    return Poll::Ready(None);
                };
                match this.left.checked_sub(data.len() as u64) {
                    Some(left) => {
                        this.left = left;
                        Poll::Ready(Some(Ok(Frame::data(data))))
                    }
                    None => this.fail(EgressError::TooLarge),
                }
            }
            Poll::Ready(Some(Err(error))) => {
                let error = failure::of_exchange(&error, &this.meter);
                this.fail(error)
            }
            Poll::Ready(None) => {
                this.held = None;
                Poll::Ready(None)
            }
            Poll::Pending if this.wait(cx).is_ready() => this.fail(EgressError::Timeout),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
