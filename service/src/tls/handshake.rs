use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::served::Served;

/// Two round trips and a signature. Who takes longer has nothing to ask, and holds a place that others need.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The first byte of every TLS connection: a record of type handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// What browsers show to a person who wrote http instead of https.
const WRONG_SCHEME: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    connection: close\r\n\r\nthis port speaks https\n";

enum Failure {
    Plaintext,
    Tls(std::io::Error),
}

impl Served {
    /// The connection under TLS, or none if the client does not come to that.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let (result, stream) = match timeout(HANDSHAKE_TIMEOUT, self.accept(stream)).await {
            Ok(Ok(stream)) => ("ok", Some(stream)),
            Ok(Err(Failure::Plaintext)) => ("plaintext", None),
            Ok(Err(Failure::Tls(error))) => {
                tracing::debug!(listener = self.listener, %error, "a handshake failed");
                ("failed", None)
            }
            Err(_) => ("timeout", None),
        };
        self.metrics.handshake(self.listener, result);
        stream
    }

    async fn accept(&self, mut stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let mut first = [0];
        let seen = stream.peek(&mut first).await.map_err(Failure::Tls)?;
        if seen > 0 && first != [HANDSHAKE_RECORD] {
            refuse_plaintext(&mut stream).await;
            return Err(Failure::Plaintext);
        }
        TlsAcceptor::from(self.config()).accept(stream).await.map_err(Failure::Tls)
    }
}

/// A client that speaks HTTP would take a TLS alert for a broken answer.
async fn refuse_plaintext(stream: &mut TcpStream) {
    // The request is read first: closing a socket that holds unread bytes resets it, and takes our answer along.
    let mut request = [0; 8 * 1024];
    let _ = stream.read(&mut request).await;
    // Whether the client takes it is the client's matter.
    let _ = stream.write_all(WRONG_SCHEME).await;
    let _ = stream.shutdown().await;
}
