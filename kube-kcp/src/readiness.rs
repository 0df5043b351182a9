use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

/// What a process still waits for before it can work, by name: for a `/readyz` that says why.
///
/// A gate is closed when it is made and may close again.
#[derive(Clone, Debug)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<String, bool>>>,
    closed: watch::Sender<usize>,
}

/// One thing that is waited for.
#[derive(Clone, Debug)]
pub struct Gate {
    name: Arc<str>,
    readiness: Readiness,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { gates: Arc::default(), closed: watch::Sender::new(0) }
    }
}

impl Readiness {
    /// A new closed gate. The name is shown to people; a second gate of a name is the same gate.
    #[must_use]
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let name = name.into();
        let gate = Gate { name: name.as_str().into(), readiness: self.clone() };
        self.set(&name, false);
        gate
    }

    /// The names of the closed gates, sorted.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<String> {
        self.gates.lock().iter().filter(|(_, open)| !**open).map(|(name, _)| name.clone()).collect()
    }

    /// Returns once no gate is closed.
    pub async fn wait(&self) {
        let mut closed = self.closed.subscribe();
        // An error means that the sender is gone, and it lives in self.
        let _ = closed.wait_for(|closed| *closed == 0).await;
    }

    fn set(&self, name: &str, open: bool) {
        let mut gates = self.gates.lock();
        gates.insert(name.to_owned(), open);
        self.closed.send_replace(gates.values().filter(|open| !**open).count());
    }
}

impl Gate {
    /// What was waited for is there.
    pub fn open(&self) {
        self.readiness.set(&self.name, true);
    }

    /// It is away again.
    pub fn close(&self) {
        self.readiness.set(&self.name, false);
    }

    /// No longer waited for, open or not.
    pub fn remove(&self) {
        let mut gates = self.readiness.gates.lock();
        gates.remove(&*self.name);
        self.readiness.closed.send_replace(gates.values().filter(|open| !**open).count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_until_every_gate_is_open() {
        let readiness = Readiness::default();
        let (a, b) = (readiness.gate("a"), readiness.gate("b"));
        a.open();
        assert_eq!(readiness.waiting_for(), ["b"]);
        let waiting = readiness.clone();
        let waiter = tokio::spawn(async move { waiting.wait().await });
        b.open();
        waiter.await.unwrap();
        a.close();
        assert_eq!(readiness.waiting_for(), ["a"]);
        a.remove();
        readiness.wait().await;
    }
}
