//! Accepting connections and letting them end.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, http::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::tls::Tls;

/// Some 20 KiB each: a flood of connections ends in the kernel's backlog and not in our memory.
const MAX_CONNECTIONS: usize = 1024;

/// How long a client may take for a request's headers, or keep a connection idle. An ingress keeps them for about this.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// A browser's headers have some 2 KiB; hyper's own limit is 400 KiB for each connection.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Accepting fails when file descriptors run out; trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` at `address` until `stop`, and lets requests end.
///
/// # Errors
/// The address cannot be bound; the message names it.
pub async fn serve(
    name: &'static str,
    address: SocketAddr,
    tls: Tls,
    router: Router,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("{name} cannot listen on {address}"))?;
    tracing::info!(%address, scheme = tls.scheme(), "{name} listens");
    serve_until(listener, tls, router, stop).await;
    Ok(())
}

/// Serves `service`, such as a [`Router`](axum::Router), on `listener` over HTTP/1.1. After `stop` accepts no more, closes idle connections, and returns once
/// the requests under way are answered, however long that takes.
pub async fn serve_until<S>(listener: TcpListener, tls: Tls, service: S, stop: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let connections = GracefulShutdown::new();
    let stopping = CancellationToken::new();
    let accepting = Accepting { tls: tls.clone(), service, http: http(), stopping: stopping.clone() };
    tokio::select! {
        () = stop => {}
        () = accepting.run(&listener, &connections) => {}
        () = tls.follow() => {}
    }
    // Closed before the wait, so that new clients are refused at once and go elsewhere.
    drop(listener);
    // Who has not shaken hands yet has asked for nothing.
    stopping.cancel();
    connections.shutdown().await;
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
    http
}

/// What each connection gets.
#[derive(Clone)]
struct Accepting<S> {
    tls: Tls,
    service: S,
    http: http1::Builder,
    stopping: CancellationToken,
}

impl<S> Accepting<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    async fn run(&self, listener: &TcpListener, connections: &GracefulShutdown) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // Acquiring fails only on a closed semaphore, and this one is never closed.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Answers are written at once; waiting to fill a packet only delays them.
            let _ = stream.set_nodelay(true);
            let (accepting, watcher) = (self.clone(), connections.watcher());
            tokio::spawn(async move {
                accepting.converse(stream, watcher).await;
                drop(slot);
            });
        }
    }

    /// The handshake is part of the connection and not of accepting: a client that takes its time holds up itself alone.
    async fn converse(self, stream: TcpStream, watcher: Watcher) {
        let Some(served) = self.tls.served() else { return self.answer(stream, watcher).await };
        if let Some(Some(stream)) = self.stopping.run_until_cancelled(served.handshake(stream)).await {
            self.answer(stream, watcher).await;
        }
    }

    async fn answer(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, watcher: Watcher) {
        let service = TowerToHyperService::new(self.service.clone());
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "connection ended");
        }
    }
}
