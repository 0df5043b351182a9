//! One client for both sides: a few connections of HTTP/1.1, on one thread of its own. What it costs, it costs both.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::{JoinSet, LocalSet};

/// A request that is ready to be sent.
pub(super) type Prepared = Request<Full<Bytes>>;

/// How a load was answered.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// From the request's first byte to the answer's last, of those that were answered with success.
    pub(super) latencies: Vec<Duration>,
    /// Answers that were none.
    pub(super) refused: usize,
    /// What one of them said.
    pub(super) refusal: String,
    /// From the first request to the last answer.
    pub(super) took: Duration,
}

impl Answered {
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    pub(super) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// An error where anything was refused: then what was measured is not what was meant.
    pub(super) fn all(self) -> Result<Self> {
        ensure!(self.refused == 0, "{} requests were refused, one with {}", self.refused, self.refusal);
        Ok(self)
    }

    fn count(&mut self, took: Duration, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.latencies.push(took),
            Err(said) => {
                self.refused += 1;
                self.refusal = said;
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.refused += other.refused;
        if other.refused > 0 {
            self.refusal = other.refusal;
        }
    }
}

/// Runs on a thread of its own, `niceness` less urgent than the rest of this machine.
pub(super) fn on_a_thread<T, F>(
    niceness: i32,
    work: impl FnOnce() -> F + Send + 'static,
) -> std::thread::JoinHandle<Result<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + 'static,
{
    std::thread::spawn(move || {
        if niceness > 0 {
            // Of this thread alone, on Linux.
            rustix::process::setpriority_process(None, niceness).context("making a thread less urgent")?;
        }
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, work())
    })
}

/// What a thread came to.
pub(super) fn joined<T>(thread: std::thread::JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread of the load panicked"))?
}

/// Sends what `next` gives, over so many connections, each of which waits for its answer before it goes on.
pub(super) async fn closed_loop(
    address: SocketAddr,
    connections: usize,
    next: impl FnMut() -> Option<Prepared> + 'static,
) -> Result<Answered> {
    let next = Rc::new(RefCell::new(next));
    let mut senders = Vec::new();
    for _ in 0..connections {
        senders.push(connect(address).await?);
    }
    let started = Instant::now();
    let mut running = JoinSet::new();
    for mut sender in senders {
        let next = Rc::clone(&next);
        running.spawn_local(async move {
            let mut answered = Answered::default();
            loop {
                // Not held while the answer is waited for.
                let request = (next.borrow_mut())();
                let Some(request) = request else { return anyhow::Ok(answered) };
                let (took, outcome) = exchange(&mut sender, request).await?;
                answered.count(took, outcome);
            }
        });
    }
    let mut all = Answered::default();
    while let Some(ended) = running.join_next().await {
        all.add(ended.context("a connection of the load")??);
    }
    all.took = started.elapsed();
    Ok(all)
}

/// Sends a request every so often, whether or not the former ones are answered: nobody who waits makes the load less.
pub(super) async fn paced(address: SocketAddr, every: Duration, requests: Vec<Prepared>) -> Result<Answered> {
    let idle = Rc::new(RefCell::new(vec![connect(address).await?]));
    let mut running = JoinSet::new();
    let mut ticks = tokio::time::interval(every);
    let started = Instant::now();
    for request in requests {
        ticks.tick().await;
        let former = idle.borrow_mut().pop();
        let idle = Rc::clone(&idle);
        running.spawn_local(async move {
            let mut sender = match former {
                Some(sender) => sender,
                None => connect(address).await?,
            };
            let (took, outcome) = exchange(&mut sender, request).await?;
            idle.borrow_mut().push(sender);
            anyhow::Ok((took, outcome))
        });
    }
    let mut all = Answered::default();
    while let Some(ended) = running.join_next().await {
        let (took, outcome) = ended.context("a request of the load")??;
        all.count(took, outcome);
    }
    all.took = started.elapsed();
    Ok(all)
}

/// A connection of one's own.
pub(super) async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// How long it took, and what was said where it was not answered with success.
pub(super) async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Prepared,
) -> Result<(Duration, Result<(), String>)> {
    sender.ready().await.context("a connection was closed")?;
    let started = Instant::now();
    let answer = sender.send_request(request).await.context("no answer")?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut said = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("an answer broke off")?;
        if let (false, Some(data)) = (status.is_success(), frame.data_ref()) {
            said.extend_from_slice(data);
        }
    }
    let took = started.elapsed();
    let outcome = if status.is_success() {
        Ok(())
    } else {
        Err(format!("{status}: {}", String::from_utf8_lossy(&said)))
    };
    Ok((took, outcome))
}
