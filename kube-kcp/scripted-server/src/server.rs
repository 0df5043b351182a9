use std::{io, sync::Arc};

use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    Shard,
    fault::Fault,
    log::Requests,
    matching::Match,
    network::{Close, Command, Connections, Identity, Port, accept},
    request::Place,
    script::{Scripted, Scripts},
    shard::ShardState,
};

/// What the server's parts share.
pub(crate) struct Shared {
    port: Port,
    pub(crate) identity: Identity,
    /// The longest prefix first: it is the one that is meant.
    shards: RwLock<Vec<Arc<ShardState>>>,
    token: Mutex<Option<String>>,
    pub(crate) scripts: Scripts,
    pub(crate) requests: Requests,
    pub(crate) connections: Connections,
}

impl Shared {
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.port.address)
    }

    /// The shard that a path leads to, and what it is about there.
    pub(crate) fn route(&self, path: &str) -> Option<(Arc<ShardState>, Place)> {
        self.shards.read().iter().find_map(|shard| {
            let place = Place::parse(path.strip_prefix(&shard.prefix)?)?;
            Some((shard.clone(), place))
        })
    }

    pub(crate) fn admits(&self, authorization: Option<&HeaderValue>) -> bool {
        let token = self.token.lock();
        let Some(token) = token.as_deref() else { return true };
        let sent = authorization.and_then(|value| value.to_str().ok());
        sent.and_then(|sent| sent.strip_prefix("Bearer ")) == Some(token)
    }

    fn shard(&self, prefix: &str) -> Arc<ShardState> {
        let mut shards = self.shards.write();
        if let Some(shard) = shards.iter().find(|shard| shard.prefix == prefix) {
            return shard.clone();
        }
        let number = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        let shard = Arc::new(ShardState::new(prefix, number));
        shards.push(shard.clone());
        shards.sort_by_key(|shard| std::cmp::Reverse(shard.prefix.len()));
        shard
    }
}

/// A Kubernetes or kcp API server that is none: objects in memory, served over TLS on a port of this machine, and faults on demand.
///
/// It runs in the Tokio runtime that started it, so that its time is the test's time, and stops when it is dropped.
pub struct ScriptedServer {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    accepting: JoinHandle<()>,
}

impl ScriptedServer {
    /// Listens on a free port of 127.0.0.1, with a certificate of an authority of its own.
    ///
    /// # Errors
    /// No port is free, or no certificate can be made.
    pub async fn start() -> io::Result<Self> {
        let port = Port::new()?;
        let listener = port.listen()?;
        let shared = Arc::new(Shared {
            port,
            identity: Identity::new()?,
            shards: RwLock::default(),
            token: Mutex::default(),
            scripts: Scripts::default(),
            requests: Requests::default(),
            connections: Connections::default(),
        });
        // Commands are awaited one by one.
        let (commands, received) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(shared.clone(), listener, received));
        Ok(Self { shared, commands, accepting })
    }

    /// `https://127.0.0.1:` and its port.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.url()
    }

    /// The certificate authority to trust, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.shared.identity.authority_pem
    }

    /// The certificate authority to trust, as DER: what `kube::Config::root_cert` holds.
    #[must_use]
    pub fn ca_der(&self) -> &[u8] {
        &self.shared.identity.authority_der
    }

    /// The shard under this path, such as `/services/apiexport/root:annex/annex.sh`, or the empty one for a plain API server. It is made
    /// when it is first asked for.
    #[must_use]
    pub fn shard(&self, prefix: &str) -> Shard {
        Shard::new(self.shared.shard(prefix.trim_end_matches('/')), self.shared.clone())
    }

    /// Asks for this bearer token from now on, or for none. Without it everything is 401.
    pub fn require_token(&self, token: Option<&str>) {
        *self.shared.token.lock() = token.map(str::to_owned);
    }

    /// The next so many requests that match meet this fault. Scripts that were made earlier go first. `usize::MAX` times means until
    /// [`Scripted::end`].
    pub fn next(&self, times: usize, matching: Match, fault: Fault) -> Scripted {
        self.shared.scripts.add(times, matching, fault)
    }

    /// The requests that came.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.shared.requests
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.connections.count()
    }

    /// How many connections were ever accepted.
    #[must_use]
    pub fn accepted_connections(&self) -> u64 {
        self.shared.connections.accepted()
    }

    /// Waits until just so many connections are open. It does not time out.
    pub async fn connections(&self, open: usize) {
        self.shared.connections.reach(open).await;
    }

    /// Waits until so many connections were ever accepted. It does not time out.
    pub async fn accepted(&self, count: u64) {
        self.shared.connections.accepted_by(count).await;
    }

    /// Closes all connections and refuses new ones, as a server that is down. Its objects stay.
    pub async fn unplug(&self) {
        let (done, is_done) = oneshot::channel();
        self.command(Command::Unplug(done), is_done).await;
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// The system does not let it.
    pub async fn plug(&self) -> io::Result<()> {
        let listener = self.shared.port.listen()?;
        let (done, is_done) = oneshot::channel();
        self.command(Command::Plug(listener, done), is_done).await;
        Ok(())
    }

    /// Closes all connections and listens again on the same port, as a server that was restarted. Its objects stay.
    ///
    /// # Errors
    /// As [`ScriptedServer::plug`].
    pub async fn restart(&self) -> io::Result<()> {
        self.unplug().await;
        self.plug().await
    }

    /// Neither reads nor writes any longer, on any connection, and closes none: the half-open connections of a network that lost the
    /// other side. New ones are accepted by the system and stay silent.
    pub fn freeze(&self) {
        self.shared.connections.freeze(true);
    }

    /// Reads and writes again, on all connections.
    pub fn thaw(&self) {
        self.shared.connections.freeze(false);
    }

    /// Resets all open connections.
    pub fn reset_connections(&self) {
        self.shared.connections.for_each(|control| control.close(Close::Reset));
    }

    /// Takes no further request on the open connections: a GOAWAY over HTTP/2. What is under way goes on.
    pub fn go_away(&self) {
        self.shared.connections.for_each(|control| control.go_away());
    }

    async fn command(&self, command: Command, is_done: oneshot::Receiver<()>) {
        // The task that takes them ends with this only.
        if self.commands.send(command).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl std::fmt::Debug for ScriptedServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedServer").field("url", &self.url()).finish_non_exhaustive()
    }
}
