use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tower::BoxError;

/// Why the rest of an answer is not read. It is among the sources of the error that a client gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerTooLarge {
    /// Longer than [`Bounds::answer_bytes`](crate::Bounds).
    #[error("the answer has more than {0} bytes")]
    Bytes(usize),
    /// More than [`Bounds::answer_objects`](crate::Bounds).
    #[error("the answer has more than {0} JSON objects")]
    Objects(usize),
}

impl AnswerTooLarge {
    /// It, if it is `error` or among its sources.
    #[must_use]
    pub fn cause_of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut sources = std::iter::successors(Some(error), |&error| error.source());
        sources.find_map(|error| error.downcast_ref().copied())
    }
}

/// The body of an answer, up to so many bytes and JSON objects.
pub(crate) struct Answer<B> {
    body: B,
    most: Size,
    read: Size,
}

/// How much an answer is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    pub(crate) bytes: usize,
    pub(crate) objects: usize,
}

impl Size {
    pub(crate) const UNBOUNDED: Self = Self { bytes: usize::MAX, objects: usize::MAX };

    /// Every brace counts, one in a string too: to tell them apart would take a parser, and strings hold few.
    fn add(&mut self, data: &[u8]) {
        let objects = data.iter().filter(|byte| **byte == b'{').count();
        self.bytes = self.bytes.saturating_add(data.len());
        self.objects = self.objects.saturating_add(objects);
    }

    fn check(self, most: Self) -> Result<(), AnswerTooLarge> {
        if self.bytes > most.bytes {
            return Err(AnswerTooLarge::Bytes(most.bytes));
        }
        if self.objects > most.objects {
            return Err(AnswerTooLarge::Objects(most.objects));
        }
        Ok(())
    }
}

impl<B> Answer<B> {
    pub(crate) fn new(body: B, most: Size) -> Self {
        Self { body, most, read: Size::default() }
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref() {
            self.read.add(data);
            self.read.check(self.most)?;
        }
        Poll::Ready(Some(Ok(frame)))
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
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    fn most(bytes: usize, objects: usize) -> Size {
        Size { bytes, objects }
    }

    async fn read<B>(body: B, most: Size) -> Result<Bytes, AnswerTooLarge>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let read = Answer::new(body, most).collect().await;
        read.map(|read| read.to_bytes()).map_err(|error| *error.downcast().unwrap())
    }

    #[tokio::test]
    async fn a_list_of_nothings_is_refused_though_it_is_short() {
        let list = |items: usize| format!(r#"{{"items":[{}]}}"#, vec!["{}"; items].join(","));
        let bounds = most(1 << 20, 20_000);
        let long = list(30_000);
        assert!(long.len() < bounds.bytes);
        assert_eq!(read(Full::from(long), bounds).await, Err(AnswerTooLarge::Objects(20_000)));
        // The list itself is an object.
        assert!(read(Full::from(list(20_000)), bounds).await.is_err());
        assert_eq!(read(Full::from(list(19_999)), bounds).await, Ok(list(19_999).into()));
    }

    #[tokio::test]
    async fn what_comes_in_pieces_is_counted_together() {
        let pieces = || {
            let pieces = ["{", "{}", "}"].map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from(piece))));
            StreamBody::new(futures::stream::iter(pieces))
        };
        assert_eq!(read(pieces(), most(4, 2)).await, Ok("{{}}".into()));
        assert_eq!(read(pieces(), most(3, 2)).await, Err(AnswerTooLarge::Bytes(3)));
        assert_eq!(read(pieces(), most(4, 1)).await, Err(AnswerTooLarge::Objects(1)));
    }
}
