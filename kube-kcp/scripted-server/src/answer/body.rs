use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use hyper::body::{Bytes, Frame, SizeHint};

/// The answer breaks off.
#[derive(Debug, thiserror::Error)]
#[error("the answer is cut off, as scripted")]
pub(crate) struct CutOff;

pub(crate) type Chunks = BoxStream<'static, Result<Bytes, CutOff>>;

/// The body of an answer.
pub(crate) struct Body {
    content: Content,
    /// Kept for as long as the answer is.
    _with: Option<Box<dyn Send + Sync>>,
}

enum Content {
    Whole(Option<Bytes>),
    Chunks(Chunks),
}

impl Body {
    pub(crate) fn chunks(chunks: Chunks) -> Self {
        Self { content: Content::Chunks(chunks), _with: None }
    }

    /// Drops `with` once the client has it all or is gone.
    pub(crate) fn with(self, with: impl Send + Sync + 'static) -> Self {
        Self { _with: Some(Box::new(with)), ..self }
    }

    /// Its length is no longer told.
    pub(crate) fn map(self, map: impl FnOnce(Chunks) -> Chunks) -> Self {
        let chunks = match self.content {
            Content::Whole(whole) => stream::iter(whole.map(Ok)).boxed(),
            Content::Chunks(chunks) => chunks,
        };
        Self { content: Content::Chunks(map(chunks)), _with: self._with }
    }
}

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        Self { content: Content::Whole(Some(whole).filter(|whole| !whole.is_empty())), _with: None }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match &mut self.content {
            Content::Whole(whole) => Poll::Ready(whole.take().map(|whole| Ok(Frame::data(whole)))),
            Content::Chunks(chunks) => {
                chunks.poll_next_unpin(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, |whole| whole.len() as u64))
            }
            Content::Chunks(_) => SizeHint::default(),
        }
    }
}
