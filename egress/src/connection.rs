//! From vetted addresses to a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annex_engine::EgressError;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::destination::{Destination, Scheme};
use crate::host::Host;

/// A connection, with TLS or without.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

/// Connects to one of the addresses, and to no other: they are tried in their order. `within`: for all of them together.
///
/// No proxy is asked, whatever the environment names.
pub(crate) async fn open(
    destination: &Destination,
    addresses: &[SocketAddr],
    tls: &Arc<ClientConfig>,
    within: Duration,
) -> Result<Box<dyn Connection>, EgressError> {
    let stream = connect(addresses, within).await?;
    match destination.scheme() {
        Scheme::Http => Ok(Box::new(stream)),
        Scheme::Https => {
            let connector = TlsConnector::from(Arc::clone(tls));
            let stream = connector.connect(server_name(destination.host())?, stream).await;
            Ok(Box::new(stream.map_err(|_| EgressError::Tls)?))
        }
    }
}

async fn connect(addresses: &[SocketAddr], within: Duration) -> Result<TcpStream, EgressError> {
    // An address that swallows everything leaves time for the others.
    let share = within / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failure = EgressError::Unreachable;
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A head and a small body in two packets would wait for each other.
                stream.set_nodelay(true).map_err(|_| EgressError::Unreachable)?;
                return Ok(stream);
            }
            Ok(Err(_)) => failure = EgressError::Unreachable,
            Err(_) => failure = EgressError::Timeout,
        }
    }
    Err(failure)
}

/// What the certificate must be for. A name is also sent along (SNI).
fn server_name(host: &Host) -> Result<ServerName<'static>, EgressError> {
    match host {
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| EgressError::Tls),
        Host::Address(address) => Ok(ServerName::from(*address)),
    }
}
