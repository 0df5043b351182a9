use std::{
    error::Error,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::{BoxFuture, FutureExt as _};
use http::{Method, Request, header::UPGRADE};
use parking_lot::RwLock;
use tower::{BoxError, Layer, Service};

use super::Claim;

/// Lets writes pass while a [`Claim`] is held, and reads always. Closed until it is opened with one.
///
/// It is a layer for clients: see [`Connection::fenced`](crate::Connection::fenced). Clones are the same fence, so clients are made once,
/// and leaderships come and go. It closes by itself when its claim is lost.
///
/// What is not a read by its method is a write: everything but GET, HEAD and OPTIONS, and of these what asks for another protocol,
/// because that is how `exec` begins. Questions that are asked by POST, such as a SubjectAccessReview, are writes to it; a replica that
/// does not lead asks them through another client, and so does [`Lease`](crate::Lease) itself.
///
/// # What it can promise
/// No write begins without a held claim, and one that is under way when the claim is lost is given up: if it still waits for a
/// connection, it is never sent. But what was sent may take effect later, after another leader's first write even, if it was on
/// the way for longer than the lease's `duration` is longer than its `renew_deadline`, or if the process was stopped just then. So every
/// write has to carry the resourceVersion of what it was decided on: then it conflicts with whatever another leader has written.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    claim: Arc<RwLock<Option<Claim>>>,
}

/// Why a fence let no write pass. It is among the sources of the error that a client gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLeader {
    /// Nothing was sent.
    #[error("not sent, because this process does not lead; leave it to the one that does")]
    Refused,
    /// It may or may not take effect.
    #[error("given up on the way, because this process leads no longer; leave it to the one that does")]
    GivenUp,
}

impl NotLeader {
    /// It, if it is `error` or among its sources.
    #[must_use]
    pub fn cause_of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut sources = std::iter::successors(Some(error), |&error| error.source());
        sources.find_map(|error| error.downcast_ref().copied())
    }
}

impl Fence {
    /// Lets writes pass for as long as `claim` is held, in place of any former one. What was begun under a former claim has to have
    /// ended: the fence does not know for which of two leaderships a write was decided on.
    pub fn open(&self, claim: Claim) {
        *self.claim.write() = Some(claim);
    }

    /// Whether a write would pass now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.held().is_some()
    }

    fn held(&self) -> Option<Claim> {
        self.claim.read().as_ref().filter(|claim| claim.is_held()).cloned()
    }
}

fn is_read<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && !request.headers().contains_key(UPGRADE)
}

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { inner, fence: self.clone() }
    }
}

/// A service behind a [`Fence`].
#[derive(Clone, Debug)]
pub struct Fenced<S> {
    inner: S,
    fence: Fence,
}

impl<S, B> Service<Request<B>> for Fenced<S>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Never an error for want of a claim: a client whose service was once not ready is of no use any more.
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if is_read(&request) {
            return self.inner.call(request).map(|answer| answer.map_err(Into::into)).boxed();
        }
        let Some(claim) = self.fence.held() else {
            return async { Err(NotLeader::Refused.into()) }.boxed();
        };
        let answer = self.inner.call(request);
        async move {
            tokio::select! {
                // The claim first: each time before the request can come any further.
                biased;
                () = claim.lost() => Err(NotLeader::GivenUp.into()),
                answer = answer => answer.map_err(Into::into),
            }
        }
        .boxed()
    }
}
