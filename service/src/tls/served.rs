use std::{
    fs,
    hash::RandomState,
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::time::MissedTickBehavior;

use super::{
    args::KeyPairFiles,
    key_pair::{Content, KeyPair, KeyPairError},
    metrics::Metrics,
};

/// Two small files. Their content is compared and not their times: a mounted Secret changes by a symbolic link that leads
/// elsewhere, and a watch on the old target would stay silent.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// The certificate of one listener.
pub(crate) struct Served {
    pub(super) listener: &'static str,
    files: KeyPairFiles,
    hasher: RandomState,
    state: Mutex<State>,
    /// Held from the reading of the files until what they held is taken: of two checks, the one that has read the former files must
    /// not have the last word.
    checking: tokio::sync::Mutex<()>,
    pub(super) metrics: Metrics,
}

struct State {
    pair: KeyPair,
    fingerprint: u64,
    refused: Option<Refused>,
}

/// What is in the files, and cannot be served.
struct Refused {
    /// None where they could not be read.
    fingerprint: Option<u64>,
    error: String,
}

impl Served {
    /// Needs the disk.
    pub(super) fn load(
        listener: &'static str,
        files: KeyPairFiles,
        metrics: Metrics,
    ) -> Result<Self, KeyPairError> {
        warn_of_readers(&files);
        let hasher = RandomState::new();
        let content = Content::read(&files)?;
        let pair = content.parse(&files)?;
        metrics.served(listener, pair.not_after);
        metrics.refused(listener, false);
        let state = State { pair, fingerprint: content.fingerprint(&hasher), refused: None };
        Ok(Self {
            listener,
            files,
            hasher,
            state: Mutex::new(state),
            checking: tokio::sync::Mutex::default(),
            metrics,
        })
    }

    /// What new connections are served with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.state.lock().pair.config.clone()
    }

    pub(super) async fn follow(served: &Arc<Self>) {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            Self::check(served).await;
        }
    }

    pub(super) async fn check(served: &Arc<Self>) {
        let _one_at_a_time = served.checking.lock().await;
        let reader = served.clone();
        // A disk that hangs must not hold up a thread that answers requests.
        let read = tokio::task::spawn_blocking(move || Content::read(&reader.files)).await;
        // An error means that the runtime ends.
        if let Ok(read) = read {
            served.take(read);
        }
    }

    fn take(&self, read: Result<Content, KeyPairError>) {
        let mut state = self.state.lock();
        let content = match read {
            Ok(content) => content,
            Err(error) => return self.refuse(&mut state, None, &error),
        };
        let fingerprint = content.fingerprint(&self.hasher);
        if fingerprint == state.fingerprint {
            if state.refused.take().is_some() {
                tracing::info!(listener = self.listener, "the files hold the served certificate again");
                self.metrics.refused(self.listener, false);
            }
            return;
        }
        if state.refused.as_ref().is_some_and(|refused| refused.fingerprint == Some(fingerprint)) {
            return;
        }
        match content.parse(&self.files) {
            Ok(pair) => {
                warn_of_readers(&self.files);
                self.metrics.served(self.listener, pair.not_after);
                self.metrics.reloaded(self.listener);
                self.metrics.refused(self.listener, false);
                *state = State { pair, fingerprint, refused: None };
                tracing::info!(listener = self.listener, "new connections get the new certificate");
            }
            // Also what a writer leaves between the two files: the next look finds them whole.
            Err(error) => self.refuse(&mut state, Some(fingerprint), &error),
        }
    }

    fn refuse(&self, state: &mut State, fingerprint: Option<u64>, error: &KeyPairError) {
        let error = error.to_string();
        if state.refused.as_ref().is_none_or(|refused| refused.error != error) {
            tracing::warn!(listener = self.listener, error, "the former certificate is kept");
        }
        self.metrics.refused(self.listener, true);
        state.refused = Some(Refused { fingerprint, error });
    }

    /// What an operator has to know, if anything.
    pub(super) fn note(&self) -> Option<String> {
        let state = self.state.lock();
        let ended = state.pair.not_after.is_some_and(|at| at <= SystemTime::now());
        let ended = ended.then(|| "the certificate has expired".to_owned());
        let refused = state
            .refused
            .as_ref()
            .map(|refused| format!("{}; the former certificate is kept", refused.error));
        let told: Vec<_> = refused.into_iter().chain(ended).collect();
        (!told.is_empty()).then(|| format!("tls of the {} listener: {}", self.listener, told.join("; ")))
    }
}

/// Whoever reads the key can pose as this listener.
fn warn_of_readers(files: &KeyPairFiles) {
    const OTHERS: u32 = 0o007;
    // What cannot be looked at cannot be read either, and is told then.
    if fs::metadata(&files.key).is_ok_and(|file| file.permissions().mode() & OTHERS != 0) {
        tracing::warn!(key = %files.key.display(), "every user of this machine may read the private key");
    }
}
