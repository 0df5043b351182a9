use std::{
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use kube::{
    Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use parking_lot::RwLock;
use tokio::{sync::Mutex, time::Instant};
use tower::{BoxError, Service, ServiceExt as _};

use crate::{
    answer::Answer,
    client::{ConnectError, Shared, Timeouts, lanes},
};

/// The connections of a [`Connection`](crate::Connection), and where they are made from.
pub(crate) struct Lanes {
    current: RwLock<Arc<[Shared]>>,
    source: Option<Source>,
}

/// A kubeconfig that is followed.
pub(crate) struct Source {
    path: PathBuf,
    adapt: Box<dyn Fn(&mut Config) + Send + Sync>,
    hasher: RandomState,
    looked: Mutex<Looked>,
}

#[derive(Default)]
struct Looked {
    at: Option<Instant>,
    /// Of what was read last. The file holds a secret; that is not kept.
    fingerprint: Option<u64>,
}

/// A thousand watches that break at once look once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Lanes {
    pub(crate) fn fixed(lanes: Arc<[Shared]>) -> Self {
        Self { current: RwLock::new(lanes), source: None }
    }

    pub(crate) fn following(lanes: Arc<[Shared]>, source: Source) -> Self {
        Self { current: RwLock::new(lanes), source: Some(source) }
    }

    fn get(&self, turn: usize) -> Option<Shared> {
        let lanes = self.current.read().clone();
        lanes.get(turn % lanes.len().max(1)).cloned()
    }

    /// Something was refused or went wrong: perhaps the file holds better credentials by now.
    async fn look(&self) {
        let Some(source) = &self.source else { return };
        match source.changed().await {
            Ok(None) => {}
            Ok(Some(config)) => match lanes(&config, Timeouts::default()) {
                Ok(lanes) => {
                    *self.current.write() = lanes;
                    tracing::info!(path = %source.path.display(), "the kubeconfig has changed and is followed");
                }
                Err(error) => tracing::error!(%error, "the kubeconfig has changed and cannot be used"),
            },
            Err(error) => tracing::error!(%error, "the kubeconfig has changed and cannot be used"),
        }
    }
}

impl Source {
    pub(crate) fn new(path: PathBuf, adapt: Box<dyn Fn(&mut Config) + Send + Sync>) -> Self {
        Self { path, adapt, hasher: RandomState::new(), looked: Mutex::default() }
    }

    pub(crate) async fn read(&self) -> Result<Vec<u8>, ConnectError> {
        let path = self.path.clone();
        // A disk that hangs must not hold up a thread that answers requests.
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let content = read
            .unwrap_or_else(|ended| Err(std::io::Error::other(ended)))
            .map_err(|error| ConnectError::File { path: self.path.clone(), error })?;
        self.looked.lock().await.fingerprint.get_or_insert(self.hasher.hash_one(&content));
        Ok(content)
    }

    pub(crate) async fn config(&self, content: &[u8]) -> Result<Config, ConnectError> {
        let refused = |error| ConnectError::Kubeconfig { path: self.path.clone(), error };
        let text = String::from_utf8_lossy(content);
        let kubeconfig = Kubeconfig::from_yaml(&text).map_err(refused)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(refused)?;
        (self.adapt)(&mut config);
        Ok(config)
    }

    /// What the file says, if that is not what was read last.
    async fn changed(&self) -> Result<Option<Config>, ConnectError> {
        {
            let mut looked = self.looked.lock().await;
            if looked.at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
                return Ok(None);
            }
            looked.at = Some(Instant::now());
        }
        let content = self.read().await?;
        let fingerprint = Some(self.hasher.hash_one(&content));
        {
            let mut looked = self.looked.lock().await;
            if looked.fingerprint == fingerprint {
                return Ok(None);
            }
            looked.fingerprint = fingerprint;
        }
        self.config(&content).await.map(Some)
    }
}

/// The connection that a client uses, as it is now.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) turn: usize,
}

impl Service<Request<Body>> for Lane {
    type Response = Response<Answer<Incoming>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Whether that one is ready is asked when it is known which.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (lanes, turn) = (self.lanes.clone(), self.turn);
        async move {
            let Some(mut lane) = lanes.get(turn) else { return Err("there is no connection".into()) };
            let answer = lane.ready().await?.call(request).await;
            if answer.as_ref().map_or(true, |answer| answer.status() == StatusCode::UNAUTHORIZED) {
                lanes.look().await;
            }
            answer
        }
        .boxed()
    }
}
