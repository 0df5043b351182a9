//! One plain HTTP request to a process on this machine.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, whatever its type.
    pub body: String,
}

/// `GET path` at 127.0.0.1, for the given `Host`: what curl does with a name under `.localhost`.
///
/// # Errors
/// When nobody listens, or no whole answer comes within five seconds.
pub fn get(port: u16, host: &str, path: &str) -> Result<Response> {
    get_at("127.0.0.1", port, host, path)
}

/// `POST path` with a body of JSON, at 127.0.0.1 as [`get`] does.
///
/// # Errors
/// Like [`get`], within half a minute: something may have to start first.
pub(crate) fn post(port: u16, host: &str, path: &str, json: &str) -> Result<Response> {
    let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len());
    request(
        "127.0.0.1",
        port,
        &format!("POST {path}"),
        host,
        &format!("{head}\r\n{json}"),
        Duration::from_secs(30),
    )
}

/// Like [`get`] at another address than this machine's own.
pub(crate) fn get_at(address: &str, port: u16, host: &str, path: &str) -> Result<Response> {
    request(address, port, &format!("GET {path}"), host, "\r\n", Duration::from_secs(5))
}

/// `rest` is further headers, an empty line, and the body.
fn request(
    address: &str,
    port: u16,
    what: &str,
    host: &str,
    rest: &str,
    within: Duration,
) -> Result<Response> {
    let failed = || format!("{what} at {address}, port {port}");
    let mut addresses = (address, port).to_socket_addrs().with_context(failed)?;
    let address = addresses.next().with_context(failed)?;
    let mut stream = TcpStream::connect_timeout(&address, within).with_context(failed)?;
    stream.set_read_timeout(Some(within)).with_context(failed)?;
    stream.set_write_timeout(Some(within)).with_context(failed)?;
    let request = format!("{what} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n{rest}");
    stream.write_all(request.as_bytes()).with_context(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(failed)?;
    parse(&String::from_utf8_lossy(&answer)).with_context(|| format!("{}: not an HTTP answer", failed()))
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let chunked =
        head.lines().any(|line| line.to_ascii_lowercase().replace(' ', "") == "transfer-encoding:chunked");
    Some(Response { status, body: if chunked { dechunk(body)? } else { body.to_owned() } })
}

fn dechunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn reads_plain_and_chunked_answers() {
        let plain = parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!((plain.status, plain.body.as_str()), (200, "ok"));
        let chunked =
            parse("HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwai\r\n2\r\nts\r\n0\r\n\r\n")
                .unwrap();
        assert_eq!((chunked.status, chunked.body.as_str()), (503, "waits"));
        assert_eq!(parse("SSH-2.0"), None);
    }

    #[test]
    fn asks_for_the_host() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        assert_eq!(get(port, "a.test:1", "/x").unwrap().body, "hello");
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /x HTTP/1.1\r\nHost: a.test:1\r\n"), "{request}");
    }
}
