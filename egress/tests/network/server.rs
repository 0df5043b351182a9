//! Servers, honest and hostile, written by hand: no library would send what these do.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};
use tokio_rustls::TlsAcceptor;

/// What a server does once it has read a request's head.
#[derive(Clone)]
pub enum Does {
    /// Sends these bytes, and ends.
    Answers(Vec<u8>),
    /// Reads the body, of the length that the head names or in chunks, and answers `200` with the number of bytes.
    Counts,
    /// Sends the first bytes, and then the second ones again and again.
    Repeats(&'static [u8], &'static [u8]),
    /// The same, with this time in between.
    Trickles(&'static [u8], &'static [u8], Duration),
    /// Sends the bytes and nothing more, and waits for the other side to go.
    Stops(&'static [u8]),
}

pub const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

pub fn answers(bytes: impl AsRef<[u8]>) -> Does {
    Does::Answers(bytes.as_ref().to_vec())
}

/// Ends with the test's runtime.
pub struct Server {
    address: SocketAddr,
    peers: mpsc::UnboundedReceiver<SocketAddr>,
    counted: usize,
    heads: mpsc::UnboundedReceiver<String>,
    ended: watch::Receiver<usize>,
}

impl Server {
    /// `tls` none: plain text. A server that does nothing at all, not even TLS, is one without TLS that stops at nothing.
    pub async fn start(address: &str, port: u16, tls: Option<TlsAcceptor>, does: Does) -> Self {
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
        let listener = TcpListener::bind(address).await.unwrap();
        let (peer, peers) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(0);
        let (head, heads) = mpsc::unbounded_channel();
        let end = Arc::new(end);
        tokio::spawn(async move {
            loop {
                let Ok((stream, from)) = listener.accept().await else { continue };
                let _ = peer.send(from);
                let (tls, does, head, end) = (tls.clone(), does.clone(), head.clone(), Arc::clone(&end));
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, does, head).await;
                            }
                        }
                        None => serve(stream, does, head).await,
                    }
                    end.send_modify(|count| *count += 1);
                });
            }
        });
        Self { address, peers, counted: 0, heads, ended }
    }

    /// The head of the next request that came.
    pub async fn head(&mut self) -> String {
        timeout(Duration::from_secs(10), self.heads.recv()).await.unwrap().unwrap()
    }

    /// Whether no request's head has come.
    pub fn no_head_came(&mut self) -> bool {
        self.heads.try_recv().is_err()
    }

    /// Waits until that many connections have ended.
    pub async fn ended(&mut self, count: usize) {
        let wait = self.ended.wait_for(|ended| *ended == count);
        timeout(Duration::from_secs(10), wait).await.expect("the connection stays open").unwrap();
    }

    /// How many have connected, without this question.
    ///
    /// Connections are accepted in their order, so once the one that is made here is counted, all before it are. It is known by its
    /// port, because it might not be the only one that is waiting.
    pub async fn connections(&mut self) -> usize {
        let ours = TcpStream::connect(self.address).await.expect("the server is not there to be reached");
        let ours = ours.local_addr().unwrap();
        let mut found = 0;
        loop {
            let peer = timeout(Duration::from_secs(10), self.peers.recv()).await.unwrap().unwrap();
            if peer == ours {
                self.counted += found;
                return self.counted;
            }
            found += 1;
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    does: Does,
    heads: mpsc::UnboundedSender<String>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let _ = heads.send(head.clone());
    // Whoever has gone meanwhile is what many of the tests are about.
    let _ = act(&mut stream, does, &head).await;
    let _ = stream.shutdown().await;
}

async fn act<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    does: Does,
    head: &str,
) -> std::io::Result<()> {
    match does {
        Does::Answers(bytes) => stream.write_all(&bytes).await?,
        Does::Counts => {
            let length = read_body(stream, head).await?.to_string();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{length}", length.len());
            stream.write_all(answer.as_bytes()).await?;
        }
        Does::Repeats(first, again) => {
            stream.write_all(first).await?;
            loop {
                stream.write_all(again).await?;
            }
        }
        Does::Trickles(first, again, every) => {
            stream.write_all(first).await?;
            let mut tick = interval(every);
            loop {
                tick.tick().await;
                stream.write_all(again).await?;
                stream.flush().await?;
            }
        }
        Does::Stops(bytes) => {
            stream.write_all(bytes).await?;
            stream.flush().await?;
            while stream.read(&mut [0; 1024]).await? > 0 {}
        }
    }
    stream.flush().await
}

async fn read_body<S: AsyncRead + Unpin>(stream: &mut S, head: &str) -> std::io::Result<usize> {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length {
        let mut body = vec![0; length.parse().unwrap()];
        return stream.read_exact(&mut body).await;
    }
    let mut body = Vec::new();
    while !body.ends_with(b"0\r\n\r\n") {
        body.push(stream.read_u8().await?);
    }
    Ok(body.len())
}
