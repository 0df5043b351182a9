//! An answer that is read by code that blocks: a bundle of 200 MiB is neither held in memory nor on a disk.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

/// Pieces under way, each of some 16 KiB.
const AHEAD: usize = 16;

/// The bytes of an answer. Reading them blocks.
pub(crate) struct Chunks {
    coming: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

/// Reads an answer while the future is polled, which ends when the answer does, in order or not, or when nobody reads on.
pub(crate) fn from_response(
    mut response: reqwest::Response,
) -> (Chunks, impl Future<Output = Result<(), ()>>) {
    let (sender, coming) = mpsc::channel(AHEAD);
    let feed = async move {
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    if sender.send(Ok(chunk)).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    // Nobody need read it.
                    let _ = sender.send(Err(io::Error::other(error.without_url()))).await;
                    return Err(());
                }
            }
        }
    };
    (Chunks { coming, rest: Bytes::new() }, feed)
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.coming.blocking_recv() {
                Some(chunk) => self.rest = chunk?,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(into.len());
        self.rest.copy_to_slice(into.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}
