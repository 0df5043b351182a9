//! What a guest sends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use annex_engine::{EgressBody, EgressError};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::meter::Meter;

/// A guest's body, of a bounded size.
pub(crate) struct OutgoingBody {
    body: EgressBody,
    left: u64,
    meter: Arc<Meter>,
}

impl OutgoingBody {
    pub(crate) fn new(body: EgressBody, bytes: u64, meter: Arc<Meter>) -> Self {
        Self { body, left: bytes, meter }
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = EgressError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else { return Poll::Ready(None) };
        let Ok(data) = frame?.into_data() else { return Poll::Ready(None) };
        match self.left.checked_sub(data.len() as u64) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            None => {
                self.meter.overflow();
                Poll::Ready(Some(Err(EgressError::TooLarge)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;
    use crate::meter::Allowance;
    use crate::metrics::EgressMetrics;

    fn body(frames: Vec<Frame<Bytes>>, bytes: u64) -> (OutgoingBody, Arc<Meter>) {
        let meter =
            Arc::new(Meter::new(Arc::new(Allowance::new(u64::MAX)), u64::MAX, EgressMetrics::default()));
        let frames: Vec<Result<_, EgressError>> = frames.into_iter().map(Ok).collect();
        let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
        (OutgoingBody::new(body, bytes, Arc::clone(&meter)), meter)
    }

    fn data(text: &'static str) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn a_body_is_so_large_in_all() {
        let (fits, meter) = body(vec![data("12345"), data("67890")], 10);
        assert_eq!(fits.collect().await.unwrap().to_bytes(), "1234567890");
        assert!(!meter.has_overflowed());
        let (large, meter) = body(vec![data("12345"), data("67890"), data("1")], 10);
        assert_eq!(large.collect().await.unwrap_err(), EgressError::TooLarge);
        assert!(meter.has_overflowed());
    }

    #[tokio::test]
    async fn trailers_stay_here() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-late", "1".parse().unwrap());
        let (body, _) = body(vec![data("1"), Frame::trailers(trailers)], 10);
        let collected = body.collect().await.unwrap();
        assert!(collected.trailers().is_none());
        assert_eq!(collected.to_bytes(), "1");
    }
}
