use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use hyper::body::Bytes;

use super::{
    body::{Body, Chunks},
    end::end,
};
use crate::{
    fault::{Act, End, Fault},
    network::Control,
};

/// What is wrong with the bytes of an answer, whatever they say.
pub(super) fn transported(body: Body, fault: &Fault, connection: &Arc<Control>) -> Body {
    fault.acts.iter().fold(body, |body, act| match act {
        Act::EndlessLine => body.map(|_| endless()),
        Act::Slow(bytes, every) => body.map(|chunks| slow(chunks, *bytes, *every)),
        Act::AfterBytes(bytes, how) => {
            let connection = connection.clone();
            body.map(|chunks| cut(chunks, *bytes, *how, connection))
        }
        _ => body,
    })
}

fn cut(chunks: Chunks, bytes: usize, how: End, connection: Arc<Control>) -> Chunks {
    stream::unfold((chunks, bytes, connection), move |(mut chunks, left, connection)| async move {
        if left == 0 {
            return end(how, &connection).await.map(|cut_off| (Err(cut_off), (chunks, 0, connection)));
        }
        match chunks.next().await? {
            Ok(mut chunk) => {
                chunk.truncate(left);
                let left = left - chunk.len();
                Some((Ok(chunk), (chunks, left, connection)))
            }
            Err(cut_off) => Some((Err(cut_off), (chunks, left, connection))),
        }
    })
    .boxed()
}

fn slow(chunks: Chunks, bytes: usize, every: Duration) -> Chunks {
    stream::unfold((chunks, Bytes::new()), move |(mut chunks, mut rest)| async move {
        while rest.is_empty() {
            match chunks.next().await? {
                Ok(chunk) => rest = chunk,
                Err(cut_off) => return Some((Err(cut_off), (chunks, rest))),
            }
        }
        tokio::time::sleep(every).await;
        let piece = rest.split_to(bytes.min(rest.len()));
        Some((Ok(piece), (chunks, rest)))
    })
    .boxed()
}

fn endless() -> Chunks {
    let start = Bytes::from_static(br#"{"type":"ADDED","object":{"kind":""#);
    let rest = Bytes::from(vec![b'a'; 16 << 10]);
    stream::iter(std::iter::once(start).chain(std::iter::repeat(rest)).map(Ok)).boxed()
}
