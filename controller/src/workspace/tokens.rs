//! The token Secret and the kubeconfig that holds its token. What is new comes first and what is old goes last, so that the
//! kubeconfig Secret holds a token that works at any moment; and each step can be the last before a crash.

use std::collections::BTreeMap;

use annex_initializer::{KUBECONFIG_SECRET, NAMESPACE, Seed, Token, TokenName, TokenState};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
    runtime::events::EventType,
};
use kube_kcp::ClusterName;

use super::{
    keeper::{Created, Keeper, Repair, as_read, unless_changed},
    memory::Fingerprint,
    rotation::{Cause, Recorded, due, successor},
};
use crate::{api_writes::WriteError, context::Context};

/// A rotation takes two, one that writes and one that removes. More are for what a tenant left in the way.
const PASSES: usize = 4;

/// How a look at the Secrets ended.
#[derive(Debug, PartialEq)]
pub(super) enum Tokens {
    /// The kubeconfig is as it should be until then.
    Settled {
        /// When the token is to be replaced.
        due: Timestamp,
    },
    /// kcp is to fill in a token, or what was read has changed meanwhile.
    Waiting,
}

/// What the index knows of the Secrets.
pub(super) struct Seen {
    /// Each with when it was made.
    pub(super) tokens: BTreeMap<TokenName, Timestamp>,
    fingerprint: Fingerprint,
}

impl Seen {
    /// The kubeconfig and the token that is in it.
    fn has_both(&self, token: &TokenName) -> bool {
        self.fingerprint.contains_key(KUBECONFIG_SECRET) && self.tokens.contains_key(token)
    }
}

/// Needs no client.
pub(super) fn seen(context: &Context, cluster: &ClusterName) -> Seen {
    let mut seen = Seen { tokens: BTreeMap::new(), fingerprint: Fingerprint::new() };
    for (key, secret) in context.tenants.secrets.in_cluster(cluster) {
        if key.namespace != NAMESPACE {
            continue;
        }
        let token = key.name.parse::<TokenName>();
        if token.is_ok() || key.name == KUBECONFIG_SECRET {
            seen.fingerprint.insert(key.name, (secret.uid(), secret.resource_version()));
        }
        let created =
            secret.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        seen.tokens.extend(token.map(|name| (name, created)));
    }
    seen
}

/// Reads nothing while nothing has changed and the token is not due.
pub(super) async fn keep(keeper: &Keeper<'_>) -> Result<Tokens, WriteError> {
    let (context, cluster) = (keeper.context, keeper.cluster);
    let now = Timestamp::now();
    let seen = seen(context, cluster);
    if let Some(due) = context.seeds.checked(cluster, &seen.fingerprint)
        && due > now
    {
        return Ok(Tokens::Settled { due });
    }
    let secrets = Secrets { keeper, api: Api::namespaced(keeper.client.clone(), NAMESPACE) };
    for _ in 0..PASSES {
        match secrets.look(&seen, now).await? {
            Look::Fine { due, is_seen } => {
                // What the watch has still to bring is not remembered as absent: gone again before it is brought, it would not be missed.
                if is_seen {
                    context.seeds.remember(cluster, seen.fingerprint, due);
                }
                return Ok(Tokens::Settled { due });
            }
            Look::Waiting => return Ok(Tokens::Waiting),
            Look::Written => {}
        }
    }
    Ok(Tokens::Waiting)
}

struct Secrets<'a> {
    keeper: &'a Keeper<'a>,
    api: Api<Secret>,
}

/// How one pass over the Secrets ended.
enum Look {
    /// Nothing had to be written.
    Fine {
        due: Timestamp,
        /// The index has what was read.
        is_seen: bool,
    },
    /// Something was: it is read once more, before anything that was needed until then goes. Of two writers one may have lost.
    Written,
    Waiting,
}

/// What there is under a token Secret's name.
enum Found {
    Token(Token, Timestamp),
    /// kcp has still to fill it in.
    Unfilled,
    /// Not what kcp filled in.
    Foreign,
    /// Nothing, or nothing that can be seen.
    Nothing,
}

impl Secrets<'_> {
    async fn look(&self, seen: &Seen, now: Timestamp) -> Result<Look, WriteError> {
        let keeper = self.keeper;
        let kubeconfig = self.get(KUBECONFIG_SECRET).await?;
        let recorded = kubeconfig.as_ref().map(Recorded::of).unwrap_or_default();
        let current = recorded.current(&seen.tokens);
        let found = match current {
            Some(current) => self.find(current).await?,
            None => Found::Nothing,
        };
        let (cause, token, due) = match found {
            Found::Token(token, due) => (Cause::of(&recorded, due, now), token, due),
            Found::Unfilled => return Ok(Look::Waiting),
            // It is there, but kcp does not show it yet.
            Found::Nothing if keeper.settling && self.is_hidden(current).await? => return Ok(Look::Waiting),
            Found::Nothing | Found::Foreign => {
                let Some((token, due)) = self.successor(kubeconfig.as_ref(), now).await? else {
                    return Ok(Look::Waiting);
                };
                (kubeconfig.is_some().then_some(Cause::Unusable), token, due)
            }
        };
        let (token, due) = match &cause {
            None | Some(Cause::Unusable) => (token, due),
            Some(Cause::Requested(_) | Cause::Age) => match self.successor(kubeconfig.as_ref(), now).await? {
                Some(next) => next,
                None => return Ok(Look::Waiting),
            },
        };
        let mut seeded = Seed::kubeconfig_secret(&keeper.context.seed_config, keeper.cluster, &token);
        if let Some(cause) = &cause {
            cause.record(&mut seeded, now);
        }
        let Some(kubeconfig) = kubeconfig else {
            return match keeper.create(&self.api, "SeedKubeconfig", &seeded).await? {
                Created::New => Ok(Look::Written),
                // Which token the tenant's holds cannot be known, so all of them stay, however old.
                Created::Hidden if !keeper.settling => Ok(Look::Fine { due: Timestamp::MAX, is_seen: true }),
                Created::There | Created::Hidden => Ok(Look::Waiting),
            };
        };
        match keeper.repair(&self.api, "SeedKubeconfig", &kubeconfig, &seeded).await? {
            Repair::Fine if self.remove_all_but(token.name(), seen).await? => Ok(Look::Written),
            Repair::Fine => Ok(Look::Fine { due, is_seen: seen.has_both(token.name()) }),
            Repair::Lost => Ok(Look::Waiting),
            Repair::Written => {
                if let Some(cause) = &cause {
                    self.tell(cause, token.name()).await;
                }
                Ok(Look::Written)
            }
        }
    }

    async fn find(&self, name: &TokenName) -> Result<Found, WriteError> {
        let Some(secret) = self.get(&name.to_string()).await? else { return Ok(Found::Nothing) };
        Ok(match Token::of(name, &secret) {
            TokenState::Filled(token) => {
                Found::Token(token, due(&secret.metadata, self.keeper.context.token_max_age))
            }
            TokenState::Unfilled => Found::Unfilled,
            TokenState::Foreign => Found::Foreign,
        })
    }

    /// Whether there is a Secret of this name that cannot be seen. Nothing is written: the name must not be used again.
    async fn is_hidden(&self, name: Option<&TokenName>) -> Result<bool, WriteError> {
        let Some(name) = name else { return Ok(false) };
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        match self.api.create(&dry_run, &Seed::token_secret(name)).await {
            Ok(_) => Ok(false),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(true),
            Err(error) => Err(WriteError::Unread { what: "Secret", error: Box::new(error) }),
        }
    }

    /// The token that follows; its Secret is made if it is not there, and there is no token until kcp has filled it. A name
    /// that something else has is passed over.
    async fn successor(
        &self,
        kubeconfig: Option<&Secret>,
        now: Timestamp,
    ) -> Result<Option<(Token, Timestamp)>, WriteError> {
        for attempt in 0..PASSES {
            let name = successor(kubeconfig.map(|secret| &secret.metadata), now, attempt);
            match self.find(&name).await? {
                Found::Token(token, due) => return Ok(Some((token, due))),
                Found::Unfilled => return Ok(None),
                Found::Foreign => {}
                Found::Nothing => {
                    let secret = Seed::token_secret(&name);
                    match self.keeper.create(&self.api, "SeedToken", &secret).await? {
                        Created::New | Created::There => return Ok(None),
                        Created::Hidden => {}
                    }
                }
            }
        }
        tracing::warn!(cluster = %self.keeper.cluster, "other Secrets have the names of the next tokens");
        Ok(None)
    }

    /// Deletes the other token Secrets, and with them their tokens. Returns whether there was one.
    async fn remove_all_but(&self, kept: &TokenName, seen: &Seen) -> Result<bool, WriteError> {
        let mut removed = false;
        for name in seen.tokens.keys().filter(|name| *name != kept) {
            let name = name.to_string();
            // The index may be behind, and what a tenant calls so need not be a token of ours.
            let Some(secret) = self.get(&name).await?.filter(Token::is_held_by) else { continue };
            let delete = DeleteParams { preconditions: Some(as_read(&secret)), ..DeleteParams::default() };
            let write = self.keeper.context.writes.count("SeedToken", self.api.delete(&name, &delete));
            if unless_changed(write).await? {
                tracing::info!(cluster = %self.keeper.cluster, name, "the old token is revoked");
            }
            removed = true;
        }
        Ok(removed)
    }

    async fn tell(&self, cause: &Cause, to: &TokenName) {
        let why = cause.text();
        tracing::info!(cluster = %self.keeper.cluster, %to, why, "the token is rotated");
        let note = format!(
            "Secret {KUBECONFIG_SECRET} has a new token, of Secret {to}: {why}; the old one is refused from now on"
        );
        self.keeper.tell(EventType::Normal, "TokenRotated", note).await;
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, WriteError> {
        self.api
            .get_opt(name)
            .await
            .map_err(|error| WriteError::Unread { what: "Secret", error: Box::new(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Secret that was read and is not in the index yet may go before it comes there. Then the index is as it was when all was in order, and
    /// that it is missing would not be noticed.
    #[test]
    fn only_what_the_index_has_is_remembered_as_in_order() {
        let token: TokenName = "annex-token".parse().unwrap();
        let seen = |names: &[&str]| Seen {
            tokens: names
                .iter()
                .filter_map(|name| Some((name.parse().ok()?, Timestamp::UNIX_EPOCH)))
                .collect(),
            fingerprint: names.iter().map(|name| ((*name).to_owned(), (None, None))).collect(),
        };
        assert!(seen(&[KUBECONFIG_SECRET, "annex-token"]).has_both(&token));
        assert!(!seen(&["annex-token"]).has_both(&token), "the kubeconfig is still to come");
        assert!(!seen(&[KUBECONFIG_SECRET]).has_both(&token), "the token is still to come");
    }
}
