use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Tells every part of the process that it is to end. The first SIGTERM or SIGINT asks it to finish what it is at; the
/// second ends it at once.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
}

impl Shutdown {
    /// Listens for signals from now on.
    ///
    /// # Errors
    /// No signal handler can be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (sender, requested) = watch::channel(false);
        tokio::spawn(async move {
            let mut received = async || {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
            };
            received().await;
            tracing::info!("asked to stop; finishing what is at work");
            sender.send_replace(true);
            received().await;
            tracing::warn!("asked to stop again; ending now");
            std::process::exit(130);
        });
        Ok(Self { requested })
    }

    /// Returns once the process was asked to end.
    pub async fn requested(&self) {
        // An error means that the listening task is gone, and it ends only with the process.
        let _ = self.requested.clone().wait_for(|requested| *requested).await;
    }
}
