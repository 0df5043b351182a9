//! Who may do what, as kcp said some seconds ago.

use std::{collections::HashMap, time::Duration};

use annex_answering::{Caller, Refusal, Wish, Workspaces};
use kube_kcp::ClusterName;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

/// Some 300 bytes each. Beyond it everything is forgotten, which costs a question each.
const MOST_REMEMBERED: usize = 16_384;
/// Questions at a time.
const QUESTIONS: usize = 64;

/// Asks kcp in the tenants' workspaces, and remembers for a while: yes and no alike.
pub struct Rights {
    workspaces: Workspaces,
    remembered: Duration,
    known: Mutex<HashMap<Question, (bool, Instant)>>,
    questions: Semaphore,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    /// Of all that kcp says of them: who is put into another group is somebody else.
    caller: [u8; 32],
    cluster: ClusterName,
    namespace: String,
    name: String,
}

impl Rights {
    /// What kcp says holds for `remembered`.
    pub fn new(workspaces: Workspaces, remembered: Duration) -> Self {
        Self { workspaces, remembered, known: Mutex::default(), questions: Semaphore::new(QUESTIONS) }
    }

    /// Whether somebody may call this Install: the verb `create` on `installs/invoke`. An empty name means any of them.
    ///
    /// # Errors
    /// kcp cannot be asked.
    pub(crate) async fn may_invoke(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        (namespace, name): (&str, &str),
    ) -> Result<bool, Refusal> {
        let question = Question {
            caller: caller.digest(),
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let known = self.known.lock().get(&question).filter(|(_, until)| *until > Instant::now()).copied();
        if let Some((may, _)) = known {
            return Ok(may);
        }
        // It is never closed.
        let _turn = self.questions.acquire().await.map_err(|_| Refusal::internal())?;
        let client = (self.workspaces)(cluster).map_err(|error| {
            tracing::warn!(%error, "a workspace cannot be asked");
            Refusal::kcp()
        })?;
        let wish = Wish { verb: "create", resource: "installs", subresource: "invoke", namespace, name };
        // From before the question: what is taken away while it is asked is not remembered for longer.
        let until = Instant::now() + self.remembered;
        let may = caller.may(&client, wish).await?;
        let mut known = self.known.lock();
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(question, (may, until));
        Ok(may)
    }
}
