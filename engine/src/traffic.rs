//! The bytes that a call exchanged with the outside.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Buf;
use http_body::Frame;

/// The bytes of bodies that a call exchanged with the outside. Shared with the bodies, which an [`crate::Egress`] may hold
/// longer than the guest lives.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn count_sent<B: Buf>(&self, frame: &Frame<B>) {
        self.sent.fetch_add(bytes_of(frame), Ordering::Relaxed);
    }

    pub(crate) fn count_received<B: Buf>(&self, frame: &Frame<B>) {
        self.received.fetch_add(bytes_of(frame), Ordering::Relaxed);
    }
}

fn bytes_of<B: Buf>(frame: &Frame<B>) -> u64 {
    frame.data_ref().map_or(0, |data| data.remaining() as u64)
}
