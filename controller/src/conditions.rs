//! What every status has in common.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The summary.
pub(crate) const READY: &str = "Ready";

/// Why something is as it is: a reason in one word, and the same for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Because {
    /// Another's own where it is another that is not ready, such as Knative.
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
}

impl Because {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }
}

/// One condition, with the transition time that it has in `before` where its status is the same.
pub(crate) fn condition(
    before: &[Condition],
    type_: &str,
    status: &str,
    because: &Because,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let was = before.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: because.reason.to_string(),
        message: because.message.clone(),
        observed_generation: generation,
        last_transition_time: was.map_or(Time(now), |condition| condition.last_transition_time.clone()),
    }
}

/// The Ready condition of `now`, if it says something else than that of `before`: what is worth an Event.
pub(crate) fn turned<'a>(before: &[Condition], now: &'a [Condition]) -> Option<&'a Condition> {
    let was = before.iter().find(|condition| condition.type_ == READY);
    now.iter()
        .find(|condition| condition.type_ == READY)
        .filter(|is| was.is_none_or(|was| was.status != is.status || was.reason != is.reason))
}
