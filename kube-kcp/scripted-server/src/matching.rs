use std::sync::Arc;

use crate::request::{Request, Verb};

type Predicate = Arc<dyn Fn(&Request) -> bool + Send + Sync>;

/// Which requests are meant.
#[derive(Clone, Default)]
pub struct Match(Vec<Predicate>);

impl Match {
    /// All of them.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Whatever is about a kind, by its plural.
    #[must_use]
    pub fn kind(plural: &str) -> Self {
        Self::of(plural, |_| true)
    }

    /// Lists of a kind.
    #[must_use]
    pub fn list(plural: &str) -> Self {
        Self::of(plural, |verb| verb == Verb::List)
    }

    /// Watches of a kind, streaming lists among them.
    #[must_use]
    pub fn watch(plural: &str) -> Self {
        Self::of(plural, |verb| verb == Verb::Watch)
    }

    /// Gets of one object of a kind.
    #[must_use]
    pub fn get(plural: &str) -> Self {
        Self::of(plural, |verb| verb == Verb::Get)
    }

    /// Creations, replacements, patches and deletions of a kind.
    #[must_use]
    pub fn write(plural: &str) -> Self {
        Self::of(plural, Verb::is_write)
    }

    fn of(plural: &str, verb: impl Fn(Verb) -> bool + Send + Sync + 'static) -> Self {
        let plural = plural.to_owned();
        Self::any().when(move |request| verb(request.verb()) && request.plural() == Some(&plural))
    }

    /// Of these, those that do just this.
    #[must_use]
    pub fn verb(self, verb: Verb) -> Self {
        self.when(move |request| request.verb() == verb)
    }

    /// Of these, those to one shard, by its prefix.
    #[must_use]
    pub fn on_shard(self, prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        self.when(move |request| request.shard() == Some(&prefix))
    }

    /// Of these, those whose path has this cluster: a name, or `*`.
    #[must_use]
    pub fn in_cluster(self, cluster: &str) -> Self {
        let cluster = cluster.to_owned();
        self.when(move |request| request.cluster() == Some(&cluster))
    }

    /// Of these, those whose path names this object.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let name = name.to_owned();
        self.when(move |request| request.name() == Some(&name))
    }

    /// Of these lists, those of a further page.
    #[must_use]
    pub fn continued(self) -> Self {
        self.when(|request| request.query("continue").is_some())
    }

    /// Of these, those for which `holds`.
    #[must_use]
    pub fn when(mut self, holds: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.0.push(Arc::new(holds));
        self
    }

    pub(crate) fn holds(&self, request: &Request) -> bool {
        self.0.iter().all(|predicate| predicate(request))
    }
}

impl std::fmt::Debug for Match {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Match of {} conditions", self.0.len())
    }
}
