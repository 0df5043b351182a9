use std::{io, net::SocketAddr, sync::Arc};

use futures::future::{BoxFuture, FutureExt as _};

/// Finds the addresses of a host and port. Asked once per probe: a name whose owner answers differently the second time must
/// find that there is no second time.
pub(super) type Resolver =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The system's.
pub(super) fn system() -> Resolver {
    Arc::new(|host, port| {
        async move { tokio::net::lookup_host((host, port)).await.map(Iterator::collect) }.boxed()
    })
}
