//! Who asks, and what they may do.

use std::{collections::HashMap, time::Duration};

use annex_apis::GROUP;
use axum::http::{HeaderMap, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::Client;
use kube_kcp::ClusterName;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::Instant};

use crate::{questions::review, refusal::Refusal};

/// What kcp said of a token holds for so long: a page asks several times. A token that is revoked is accepted for as much longer, which kcp
/// itself does too.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Some hundred bytes each. Beyond it everything is forgotten, which costs a question each.
const MOST_REMEMBERED: usize = 4096;
/// Questions at a time: whoever sends made-up tokens is not to keep kcp busy.
const QUESTIONS: usize = 16;
/// Tokens of kcp have 1 to 2 KiB; a listener takes 32 KiB of headers.
const LONGEST_TOKEN: usize = 16 * 1024;
/// In which workspace kcp has issued a ServiceAccount's token.
const CLUSTER_NAME: &str = "authentication.kcp.io/cluster-name";

/// Somebody whom kcp knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller(UserInfo);

/// Tokens are not kept.
type TokenDigest = [u8; 32];

/// Who it is, if anybody, and until when that holds.
type Known = (Option<Caller>, Instant);

/// Asks kcp who it is that a token speaks for.
pub struct Callers {
    provider: Client,
    remembered: Duration,
    known: Mutex<HashMap<TokenDigest, Known>>,
    questions: Semaphore,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wish<'a> {
    /// Such as `create`.
    pub verb: &'static str,
    /// Of the API group `annex.sh`, in the plural.
    pub resource: &'static str,
    /// Empty: the object itself.
    pub subresource: &'static str,
    /// Empty: the kind has none.
    pub namespace: &'a str,
    /// Empty: any.
    pub name: &'a str,
}

impl Callers {
    /// Asks in the provider's workspace.
    pub fn new(provider: Client) -> Self {
        Self::remembering(provider, REMEMBERED)
    }

    /// The same; what kcp says of a token holds for `remembered`.
    pub fn remembering(provider: Client, remembered: Duration) -> Self {
        Self { provider, remembered, known: Mutex::default(), questions: Semaphore::new(QUESTIONS) }
    }

    /// Who sends these headers.
    ///
    /// # Errors
    /// Nobody whom kcp knows; or it cannot be asked.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = bearer(headers)?;
        let digest: TokenDigest = Sha256::digest(token).into();
        let known = self.known.lock().get(&digest).filter(|(_, until)| *until > Instant::now()).cloned();
        let caller = match known {
            Some((caller, _)) => caller,
            None => {
                let caller = self.ask(token).await?;
                let mut known = self.known.lock();
                if known.len() >= MOST_REMEMBERED {
                    known.clear();
                }
                known.insert(digest, (caller.clone(), Instant::now() + self.remembered));
                caller
            }
        };
        caller.ok_or_else(|| Refusal::unauthenticated("kcp does not know this token"))
    }

    async fn ask(&self, token: &str) -> Result<Option<Caller>, Refusal> {
        // It is never closed.
        let _turn = self.questions.acquire().await.map_err(|_| Refusal::internal())?;
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let question = TokenReview { spec, ..TokenReview::default() };
        let status = review(&self.provider, "TokenReview", &question).await?.status.unwrap_or_default();
        let named = |user: &UserInfo| user.username.as_deref().is_some_and(|name| !name.is_empty());
        Ok(status.user.filter(|user| status.authenticated == Some(true) && named(user)).map(Caller))
    }
}

impl Caller {
    /// The user name, for counting and for the log.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.username.as_deref().unwrap_or_default()
    }

    /// The same for two of whom kcp says the same.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        // The debug form has every field, texts in quotes and escaped, and maps in order: two that differ are never the same text.
        Sha256::digest(format!("{:?}", self.0)).into()
    }

    /// The workspace in which kcp has issued their token, if that is a ServiceAccount's.
    ///
    /// # Errors
    /// There are several, or one that names no workspace: then it is nobody's home.
    pub fn home(&self) -> Result<Option<ClusterName>, Refusal> {
        let issued = self.0.extra.as_ref().and_then(|extra| extra.get(CLUSTER_NAME));
        match issued.map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([one]) => {
                one.parse().map(Some).map_err(|_| Refusal::unauthenticated("the token is of no workspace"))
            }
            Some(_) => Err(Refusal::unauthenticated("the token is of more than one workspace")),
        }
    }

    /// Whether their token is a ServiceAccount's of another workspace than this. In kcp such accounts have the same name in each.
    #[must_use]
    pub fn is_foreign_to(&self, cluster: &ClusterName) -> bool {
        let issued = self.0.extra.as_ref().and_then(|extra| extra.get(CLUSTER_NAME)).into_iter().flatten();
        issued.into_iter().any(|issued| issued != cluster.as_str())
    }

    /// Whether they may do that in the workspace that `client` leads to. All that kcp said of them is passed on unchanged: without the extra
    /// fields, a ServiceAccount of one workspace would have the rights of its namesake in the other.
    ///
    /// # Errors
    /// kcp cannot be asked.
    pub async fn may(&self, client: &Client, wish: Wish<'_>) -> Result<bool, Refusal> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let spec = SubjectAccessReviewSpec {
            user: self.0.username.clone(),
            uid: self.0.uid.clone(),
            groups: self.0.groups.clone(),
            extra: self.0.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                resource: Some(wish.resource.to_owned()),
                subresource: some(wish.subresource),
                verb: Some(wish.verb.to_owned()),
                namespace: some(wish.namespace),
                name: some(wish.name),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        };
        let question = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let status = review(client, "SubjectAccessReview", &question).await?.status.unwrap_or_default();
        Ok(status.allowed && status.denied != Some(true))
    }
}

/// The token of `Authorization: Bearer`.
///
/// # Errors
/// There is none, or more than one.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value =
        values.next().ok_or_else(|| Refusal::unauthenticated("there is no Authorization: Bearer token"))?;
    if values.next().is_some() {
        return Err(Refusal::unauthenticated("there is more than one Authorization header"));
    }
    let text = value.to_str().unwrap_or_default();
    let token = text
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_matches(' '))
        .filter(|token| !token.is_empty() && token.len() <= LONGEST_TOKEN)
        .ok_or_else(|| Refusal::unauthenticated("Authorization is no Bearer token"))?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_bearer_token_is_one() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            headers
        };
        for good in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(&headers(&[good])), Ok("abc"), "{good}");
        }
        for bad in
            [&[][..], &[""], &["Bearer"], &["Bearer "], &["Basic abc"], &["abc"], &["Bearer a", "Bearer b"]]
        {
            assert!(bearer(&headers(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_service_account_is_foreign_everywhere_but_at_home() {
        let extra = [(CLUSTER_NAME.to_owned(), vec!["home".to_owned()])].into();
        let account = Caller(UserInfo { extra: Some(extra), ..UserInfo::default() });
        let person = Caller(UserInfo::default());
        let (home, other) = ("home".parse().unwrap(), "other".parse().unwrap());
        assert!(!account.is_foreign_to(&home) && account.is_foreign_to(&other));
        assert!(!person.is_foreign_to(&other));
        assert_eq!((account.home(), person.home()), (Ok(Some(home)), Ok(None)));
        for bad in [vec![String::new()], vec!["A/b".to_owned()], vec!["a".to_owned(), "b".to_owned()]] {
            let extra = [(CLUSTER_NAME.to_owned(), bad)].into();
            assert!(Caller(UserInfo { extra: Some(extra), ..UserInfo::default() }).home().is_err());
        }
    }
}
