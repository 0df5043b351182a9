//! Sockets: who may connect, TLS, and what is done to connections.

mod connection;
mod control;
mod tls;
mod wire;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{mpsc, oneshot},
    task::JoinSet,
};

pub(crate) use control::{Close, Control};
pub(crate) use tls::Identity;

use crate::{changes::Changes, server::Shared};

/// The open connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    state: Mutex<State>,
    changes: Changes,
}

#[derive(Debug, Default)]
struct State {
    frozen: bool,
    open: Vec<Arc<Control>>,
    /// How many there have been.
    accepted: u64,
}

impl Connections {
    fn open(&self) -> Arc<Control> {
        let mut state = self.state.lock();
        let control = Arc::new(Control::new(state.frozen));
        state.open.push(control.clone());
        state.accepted += 1;
        drop(state);
        self.changes.wake();
        control
    }

    fn remove(&self, control: &Arc<Control>) {
        self.state.lock().open.retain(|open| !Arc::ptr_eq(open, control));
        self.changes.wake();
    }

    pub(crate) fn count(&self) -> usize {
        self.state.lock().open.len()
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.state.lock().accepted
    }

    pub(crate) async fn reach(&self, open: usize) {
        self.changes.until(|| (self.count() == open).then_some(())).await;
    }

    pub(crate) async fn accepted_by(&self, count: u64) {
        self.changes.until(|| (self.accepted() >= count).then_some(())).await;
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        let mut state = self.state.lock();
        state.frozen = frozen;
        state.open.iter().for_each(|control| control.freeze(frozen));
    }

    pub(crate) fn for_each(&self, each: impl FnMut(&Arc<Control>)) {
        let open = self.state.lock().open.clone();
        open.iter().for_each(each);
    }
}

/// A connection that is over is no longer counted, however it ended.
struct Counted {
    server: Arc<Shared>,
    control: Arc<Control>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.server.connections.remove(&self.control);
    }
}

/// A port that stays ours while nobody listens on it: to connect to it then is refused.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    pub(crate) fn new() -> io::Result<Self> {
        let bound = socket()?;
        bound.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { address: bound.local_addr()?, _bound: bound })
    }

    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let socket = socket()?;
        socket.bind(self.address)?;
        socket.listen(1024)
    }
}

fn socket() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // So that the port can be listened on while it is kept.
    socket.set_reuseport(true)?;
    Ok(socket)
}

/// What the task that accepts is asked to do; it says when it has.
pub(crate) enum Command {
    Unplug(oneshot::Sender<()>),
    Plug(TcpListener, oneshot::Sender<()>),
}

/// Accepts connections until it is dropped, and they with it.
pub(crate) async fn accept(server: Arc<Shared>, first: TcpListener, mut commands: mpsc::Receiver<Command>) {
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Unplug(done)) => {
                    listener = None;
                    connections.shutdown().await;
                    let _ = done.send(());
                }
                Some(Command::Plug(again, done)) => {
                    listener = Some(again);
                    let _ = done.send(());
                }
                None => return,
            },
            accepted = accept_one(listener.as_ref()) => {
                // An error is that of a client that is gone again.
                let Ok((stream, _)) = accepted else { continue };
                let server = server.clone();
                let control = server.connections.open();
                connections.spawn(async move {
                    let counted = Counted { server: server.clone(), control: control.clone() };
                    connection::serve(server, control, stream).await;
                    drop(counted);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept_one(listener: Option<&TcpListener>) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
