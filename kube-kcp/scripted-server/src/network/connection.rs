use std::{convert::Infallible, pin::pin, sync::Arc};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::{
    Close, Control,
    wire::{Secured, Wire},
};
use crate::{answer, server::Shared};

/// As many as an API server allows on a connection.
const MOST_STREAMS: u32 = 100;

/// Serves one connection to its end.
pub(super) async fn serve(server: Arc<Shared>, control: Arc<Control>, stream: TcpStream) {
    // Without it, small events would wait for the acknowledgement of others.
    let _ = stream.set_nodelay(true);
    let wire = Wire { stream, control: control.clone() };
    let accepted = tokio::select! {
        accepted = server.identity.acceptor.accept(wire) => accepted,
        _ = control.closed() => return,
    };
    let Ok(secured) = accepted else { return };
    control.set_http2(secured.get_ref().1.alpn_protocol() == Some(b"h2"));
    let secured = Secured(Arc::new(Mutex::new(secured)));
    let Some(how) = speak_http(&server, &control, secured.clone()).await else { return };
    match how {
        Close::Notified => secured.finish(true).await,
        Close::Unnotified => secured.finish(false).await,
        Close::Reset => {
            let _ = secured.0.lock().get_ref().0.stream.set_zero_linger();
        }
    }
}

/// Until the client is gone, or the connection is to be closed in such a way.
async fn speak_http(server: &Arc<Shared>, control: &Arc<Control>, secured: Secured) -> Option<Close> {
    let service = service_fn(|request| {
        let (server, control) = (server.clone(), control.clone());
        async move { Ok::<_, Infallible>(answer::answer(&server, &control, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(MOST_STREAMS);
    // A watch's connection is idle for as long as nothing happens.
    builder.http1().header_read_timeout(None);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(secured), service));
    let mut gone_away = false;
    loop {
        tokio::select! {
            biased;
            how = control.closed() => return Some(how),
            () = control.gone_away(), if !gone_away => {
                gone_away = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = connection.as_mut() => return None,
        }
    }
}
