use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};

use super::record::Record;
use crate::Brief;

/// The Lease on the server. No write of it takes a claim without naming the version that it replaces.
#[derive(Clone)]
pub(super) struct Store {
    api: Api<Lease>,
    name: String,
    timeout: Duration,
}

/// Why a request about the Lease was of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer in {0:?}")]
    Timeout(Duration),
    #[error("the Lease has no resourceVersion")]
    Unversioned,
    #[error("{}", Brief(.0))]
    Request(#[from] kube::Error),
}

impl Failure {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Request(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// Somebody else has written meanwhile.
    pub(super) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    pub(super) fn is_absent(&self) -> bool {
        self.code() == Some(404)
    }

    /// One of a fixed few, for a label.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Unversioned => "malformed",
            Self::Request(_) => match self.code() {
                Some(401 | 403) => "forbidden",
                Some(404) => "not_found",
                Some(409) => "conflict",
                Some(429) => "throttled",
                Some(500..) => "server",
                Some(_) => "refused",
                None => "connection",
            },
        }
    }
}

impl Store {
    pub(super) fn new(client: Client, namespace: &str, name: &str, timeout: Duration) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), timeout }
    }

    pub(super) async fn read(&self) -> Result<Record, Failure> {
        self.answer(self.api.get(&self.name)).await
    }

    /// What is there, and where there is nothing: a new Lease that nobody holds. Nobody's, because a creation names no version that it
    /// replaces: one that was under way for long would take the lease from whoever holds it, if somebody deletes it in between.
    pub(super) async fn read_or_create(&self) -> Result<Record, Failure> {
        match self.read().await {
            Err(failure) if failure.is_absent() => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                let empty = Lease { metadata, spec: Some(LeaseSpec::default()) };
                self.answer(self.api.create(&PostParams::default(), &empty)).await
            }
            answer => answer,
        }
    }

    /// `lease` was made of a [`Record`], so it has a version.
    pub(super) async fn replace(&self, lease: &Lease) -> Result<Record, Failure> {
        self.answer(self.api.replace(&self.name, &PostParams::default(), lease)).await
    }

    async fn answer(
        &self,
        request: impl Future<Output = Result<Lease, kube::Error>>,
    ) -> Result<Record, Failure> {
        let answer = tokio::time::timeout(self.timeout, request).await;
        let lease = answer.map_err(|_| Failure::Timeout(self.timeout))??;
        Record::of(lease).ok_or(Failure::Unversioned)
    }
}
