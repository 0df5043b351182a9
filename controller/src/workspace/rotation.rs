//! When a workspace's token is to be replaced. Needs no client.

use std::time::Duration;

use annex_apis::{ROTATE_ANNOTATION, ROTATED_ANNOTATION, ROTATED_AT_ANNOTATION, SEED_TOKEN_ANNOTATION};
use annex_initializer::TokenName;
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};

/// A younger token is never replaced for its age. kcp accepts a token for 10 s after its Secret has gone.
pub(crate) const SHORTEST_AGE: Duration = Duration::from_secs(10);

/// What the kubeconfig Secret says about its token.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recorded {
    /// Whose token it holds.
    pub(super) token: Option<TokenName>,
    /// A request that was not handled yet.
    pub(super) request: Option<String>,
}

/// Why a token is replaced.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cause {
    /// The tenant asked, with this value.
    Requested(String),
    /// It is as old as a token may be.
    Age,
    /// Its Secret holds something else, or cannot be seen any more.
    Unusable,
}

impl Recorded {
    pub(super) fn of(kubeconfig: &Secret) -> Self {
        let annotation = |name: &str| kubeconfig.metadata.annotations.as_ref()?.get(name);
        let rotated = annotation(ROTATED_ANNOTATION);
        Self {
            token: annotation(SEED_TOKEN_ANNOTATION).and_then(|name| name.parse().ok()),
            request: annotation(ROTATE_ANNOTATION).filter(|value| Some(*value) != rotated).cloned(),
        }
    }

    /// The token Secret that counts. Without a word from the kubeconfig it is the latest that there is: a rotation may have
    /// been under way.
    pub(super) fn current<'a>(
        &'a self,
        there: impl IntoIterator<Item = (&'a TokenName, &'a Timestamp)>,
    ) -> Option<&'a TokenName> {
        let latest = || there.into_iter().max_by_key(|(name, created)| (*created, *name));
        self.token.as_ref().or_else(|| latest().map(|(name, _)| name))
    }
}

impl Cause {
    /// Why a token that works is to be replaced now, if it is.
    pub(super) fn of(recorded: &Recorded, due: Timestamp, now: Timestamp) -> Option<Self> {
        match &recorded.request {
            Some(value) => Some(Self::Requested(value.clone())),
            None => (due <= now).then_some(Self::Age),
        }
    }

    pub(super) fn text(&self) -> &'static str {
        match self {
            Self::Requested(_) => "it was asked for",
            Self::Age => "of its age",
            Self::Unusable => "its Secret did not hold it any more",
        }
    }

    /// Notes on the kubeconfig Secret that this was done. In the same write as the new token: a request is neither forgotten
    /// nor handled twice.
    pub(super) fn record(&self, kubeconfig: &mut Secret, now: Timestamp) {
        let annotations = kubeconfig.metadata.annotations.get_or_insert_default();
        annotations.insert(ROTATED_AT_ANNOTATION.to_owned(), format!("{now:.0}"));
        if let Self::Requested(value) = self {
            annotations.insert(ROTATED_ANNOTATION.to_owned(), value.clone());
        }
    }
}

/// The name of the token Secret that follows, from what the kubeconfig Secret is at this moment: whoever goes on after a crash,
/// or does the same beside us, goes on with the same Secret, and no name ever comes again. Where there is no kubeconfig
/// Secret, it is any new name. `attempt` counts the names that something else has.
pub(super) fn successor(kubeconfig: Option<&ObjectMeta>, now: Timestamp, attempt: usize) -> TokenName {
    let attempt = attempt.to_string();
    match kubeconfig.and_then(|meta| meta.uid.as_deref().zip(meta.resource_version.as_deref())) {
        Some((uid, version)) => TokenName::of_origin(&[uid, version, &attempt]),
        None => TokenName::of_origin(&[&now.as_nanosecond().to_string(), &attempt]),
    }
}

/// When the token of this Secret is to be replaced. Up to a tenth sooner than `max_age`, by its uid: tokens that were made
/// together, as after a release or a restore, are not replaced together.
pub(super) fn due(secret: &ObjectMeta, max_age: Duration) -> Timestamp {
    let created = secret.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let max_age = max_age.max(SHORTEST_AGE);
    let digits = secret.uid.as_deref().and_then(|uid| uid.get(..8));
    let random = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default();
    let sooner = max_age.mul_f64(f64::from(random) / f64::from(u32::MAX) / 10.0);
    created.checked_add(max_age.saturating_sub(sooner).max(SHORTEST_AGE)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn name(text: &str) -> TokenName {
        text.parse().unwrap()
    }

    fn kubeconfig(annotations: &[(&str, &str)]) -> Secret {
        let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let metadata = ObjectMeta { annotations: Some(annotations.collect()), ..ObjectMeta::default() };
        Secret { metadata, ..Secret::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_token_that_counts() {
        let (a, b) = (name("annex-token"), name("annex-token-0123456789"));
        let there = [(&a, &at(2)), (&b, &at(1))];
        let named = Recorded::of(&kubeconfig(&[("annex.sh/token", "annex-token-0123456789")]));
        assert_eq!(named.current(there), Some(&b));
        assert_eq!(named.current([]), Some(&b), "also when it cannot be seen");
        let old = Recorded::of(&kubeconfig(&[]));
        assert_eq!(old.current(there), Some(&a), "the latest");
        assert_eq!(old.current([]), None);
        let forged = Recorded::of(&kubeconfig(&[("annex.sh/token", "../x")]));
        assert_eq!(forged.token, None);
    }

    #[test]
    fn a_successors_name_is_the_same_until_the_kubeconfig_is_written() {
        let meta = |version: &str| ObjectMeta {
            uid: Some("u".into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        let of = |version, seconds, attempt| successor(Some(&meta(version)), at(seconds), attempt);
        assert_eq!(of("1", 1, 0), of("1", 2, 0));
        assert_ne!(of("1", 1, 0), of("2", 1, 0));
        assert_ne!(of("1", 1, 0), of("1", 1, 1));
        assert_ne!(successor(None, at(1), 0), successor(None, at(2), 0));
    }

    #[test]
    fn a_value_is_handled_once() {
        let value = |annotations| Recorded::of(&kubeconfig(annotations)).request;
        assert_eq!(value(&[]), None);
        assert_eq!(value(&[("annex.sh/rotated", "1")]), None);
        assert_eq!(value(&[("annex.sh/rotate", "1")]).as_deref(), Some("1"));
        assert_eq!(value(&[("annex.sh/rotate", "1"), ("annex.sh/rotated", "1")]), None);
        assert_eq!(value(&[("annex.sh/rotate", "2"), ("annex.sh/rotated", "1")]).as_deref(), Some("2"));

        let mut secret = kubeconfig(&[("annex.sh/rotate", "2"), ("annex.sh/rotated", "1")]);
        let cause = Cause::of(&Recorded::of(&secret), at(10), at(0)).unwrap();
        cause.record(&mut secret, at(0));
        assert_eq!(Recorded::of(&secret).request, None);
        assert_eq!(secret.metadata.annotations.unwrap()["annex.sh/rotated-at"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn age_leaves_the_request_alone() {
        let mut secret = kubeconfig(&[("annex.sh/rotated", "1")]);
        assert_eq!(Cause::of(&Recorded::of(&secret), at(10), at(9)), None);
        let cause = Cause::of(&Recorded::of(&secret), at(10), at(10)).unwrap();
        assert_eq!(cause, Cause::Age);
        cause.record(&mut secret, at(10));
        assert_eq!(secret.metadata.annotations.unwrap()["annex.sh/rotated"], "1");
    }

    #[test]
    fn a_token_is_due_in_the_last_tenth_of_its_age() {
        let secret = |uid: &str| ObjectMeta {
            creation_timestamp: Some(Time(at(1000))),
            uid: Some(uid.into()),
            ..ObjectMeta::default()
        };
        let due = |uid, age| due(&secret(uid), Duration::from_secs(age)).as_second();
        assert_eq!(due("00000000-0000-4000-8000-000000000000", 1000), 2000);
        assert_eq!(due("ffffffff-0000-4000-8000-000000000000", 1000), 1900);
        assert_eq!(due("80000000-0000-4000-8000-000000000000", 1000), 1949);
        assert_eq!(due("no uid", 1000), 2000);
        assert_eq!(due("ffffffff-0000-4000-8000-000000000000", 0), 1010, "never in a hot loop");
    }
}
