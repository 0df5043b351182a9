//! Counts the bytes of a connection, and ends it when there are too many.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::EgressMetrics;

/// What a call may still send and receive, in bytes, over all its requests.
#[derive(Debug)]
pub(crate) struct Allowance(AtomicU64);

impl Allowance {
    pub(crate) fn new(bytes: u64) -> Self {
        Self(AtomicU64::new(bytes))
    }

    /// Takes that much away. False: there was less.
    fn spend(&self, bytes: u64) -> bool {
        let take = |left: u64| Some(left.saturating_sub(bytes));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok_and(|left| left >= bytes)
    }

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// The bytes of one request. Shared between its connection and its bodies.
#[derive(Debug)]
pub(crate) struct Meter {
    call: Arc<Allowance>,
    before_head: Allowance,
    head_is_there: AtomicBool,
    overflowed: AtomicBool,
    metrics: EgressMetrics,
}

impl Meter {
    /// `before_head`: what may come before the answer's head has come.
    pub(crate) fn new(call: Arc<Allowance>, before_head: u64, metrics: EgressMetrics) -> Self {
        Self {
            call,
            before_head: Allowance::new(before_head),
            head_is_there: AtomicBool::new(false),
            overflowed: AtomicBool::new(false),
            metrics,
        }
    }

    pub(crate) fn head_is_there(&self) {
        self.head_is_there.store(true, Ordering::Relaxed);
    }

    /// Says that something was larger than it may be.
    pub(crate) fn overflow(&self) {
        self.overflowed.store(true, Ordering::Relaxed);
    }

    /// Whether the exchange ended because something was larger than it may be. hyper does not hand that on in every case.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(crate) fn metrics(&self) -> &EgressMetrics {
        &self.metrics
    }

    fn received(&self, bytes: u64) -> io::Result<()> {
        self.metrics.received(bytes);
        let head = self.head_is_there.load(Ordering::Relaxed) || self.before_head.spend(bytes);
        self.spend(bytes, head)
    }

    fn sent(&self, bytes: u64) -> io::Result<()> {
        self.metrics.sent(bytes);
        self.spend(bytes, true)
    }

    fn spend(&self, bytes: u64, head: bool) -> io::Result<()> {
        if self.call.spend(bytes) && head {
            return Ok(());
        }
        self.overflow();
        Err(io::ErrorKind::FileTooLarge.into())
    }

    fn check_call(&self) -> io::Result<()> {
        if self.call.is_spent() {
            self.overflow();
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(())
    }
}

/// A connection whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Metered<C> {
    connection: C,
    meter: Arc<Meter>,
}

impl<C> Metered<C> {
    pub(crate) fn new(connection: C, meter: Arc<Meter>) -> Self {
        Self { connection, meter }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Metered<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(cx, into))?;
        Poll::Ready(self.meter.received((into.filled().len() - before) as u64))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Metered<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Before, because what is written is on its way. So a call sends at most one buffer more than it may.
        self.meter.check_call()?;
        let written = ready!(Pin::new(&mut self.connection).poll_write(cx, bytes))?;
        self.meter.sent(written as u64)?;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn meter(call: u64, before_head: u64) -> Arc<Meter> {
        Arc::new(Meter::new(Arc::new(Allowance::new(call)), before_head, EgressMetrics::default()))
    }

    #[tokio::test]
    async fn a_call_receives_so_much() {
        let meter = meter(10, 100);
        let mut stream = Metered::new(&b"0123456789ab"[..], Arc::clone(&meter));
        let mut found = [0; 10];
        stream.read_exact(&mut found).await.unwrap();
        assert!(!meter.has_overflowed());
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(meter.has_overflowed());
        assert_eq!(meter.metrics().received_bytes(), 11);
    }

    #[tokio::test]
    async fn so_much_comes_before_the_head() {
        let meter = meter(100, 4);
        let mut stream = Metered::new(&b"0123456789"[..], Arc::clone(&meter));
        let mut found = [0; 4];
        stream.read_exact(&mut found).await.unwrap();
        meter.head_is_there();
        stream.read_exact(&mut found).await.unwrap();
        let late = Arc::new(Meter::new(Arc::new(Allowance::new(100)), 4, EgressMetrics::default()));
        let mut stream = Metered::new(&b"0123456789"[..], late);
        assert_eq!(stream.read_exact(&mut [0; 5]).await.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[tokio::test]
    async fn a_call_sends_so_much_over_all_its_requests() {
        let call = Arc::new(Allowance::new(10));
        let one = || Arc::new(Meter::new(Arc::clone(&call), 100, EgressMetrics::default()));
        let mut kept = Vec::new();
        Metered::new(&mut kept, one()).write_all(b"012345").await.unwrap();
        let mut second = Vec::new();
        let mut stream = Metered::new(&mut second, one());
        stream.write_all(b"6789").await.unwrap();
        assert_eq!(stream.write_all(b"a").await.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!((kept.len(), second.len()), (6, 4));
    }
}
