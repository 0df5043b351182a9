use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::conditions::condition;
pub(super) use crate::conditions::{Because, READY};

/// The conditions of an Install, in the order in which they become true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Resolved,
    Verified,
    EnvironmentReady,
    DomainReady,
    RunnerReady,
    Installed,
}

impl Stage {
    const ALL: [Self; 6] = [
        Self::Resolved,
        Self::Verified,
        Self::EnvironmentReady,
        Self::DomainReady,
        Self::RunnerReady,
        Self::Installed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Resolved => "Resolved",
            Self::Verified => "Verified",
            Self::EnvironmentReady => "EnvironmentReady",
            Self::DomainReady => "DomainReady",
            Self::RunnerReady => "RunnerReady",
            Self::Installed => "Installed",
        }
    }
}

/// What a pass over the stages found: each one reached, and at the end perhaps one that refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    reached: Vec<(Stage, &'static str, Because)>,
    refused: Option<(Stage, Because)>,
}

impl Findings {
    pub(super) fn passed(&mut self, stage: Stage, because: Because) {
        self.reached.push((stage, "True", because));
    }

    /// Passed though not true: only the operator can allow that.
    pub(super) fn waived(&mut self, stage: Stage, because: Because) {
        self.reached.push((stage, "False", because));
    }

    /// What was found of the stage before counts no more.
    pub(super) fn refused(&mut self, stage: Stage, because: Because) {
        self.reached.retain(|(reached, ..)| *reached != stage);
        self.refused = Some((stage, because));
    }

    /// Why a stage refused, if one did.
    pub(super) fn refusal(&self) -> Option<&Because> {
        self.refused.as_ref().map(|(_, because)| because)
    }

    /// Whether it was this stage.
    pub(super) fn is_refused_at(&self, stage: Stage) -> bool {
        self.refused.as_ref().is_some_and(|(refused, _)| *refused == stage)
    }

    /// The conditions that say this, with the times of `before` where nothing changed. Ready has the reason of the stage that
    /// refused, and `ready` when none did. Stages after a refusal are Unknown: nothing is claimed of them. Unless `running`, a
    /// version that goes on answering: then they stay what they were for it, with the generation that they spoke of.
    pub(super) fn conditions(
        &self,
        before: &[Condition],
        generation: Option<i64>,
        now: Timestamp,
        ready: &Because,
        running: Option<&str>,
    ) -> Vec<Condition> {
        let at = |name: &str, status: &str, because: &Because| {
            condition(before, name, status, because, generation, now)
        };
        let mut conditions: Vec<Condition> = Stage::ALL
            .iter()
            .map(|&stage| {
                if let Some((_, status, because)) =
                    self.reached.iter().find(|(reached, ..)| *reached == stage)
                {
                    return at(stage.name(), status, because);
                }
                let kept =
                    before.iter().find(|condition| running.is_some() && condition.type_ == stage.name());
                match (&self.refused, kept) {
                    (Some((refused, because)), _) if *refused == stage => at(stage.name(), "False", because),
                    (Some(_), Some(kept)) => kept.clone(),
                    (Some((refused, _)), None) => {
                        let waits = Because::new("Waiting", format!("waits for {}", refused.name()));
                        at(stage.name(), "Unknown", &waits)
                    }
                    (None, _) => at(stage.name(), "Unknown", &Because::new("Waiting", "not looked at yet")),
                }
            })
            .collect();
        conditions.push(match &self.refused {
            Some((_, because)) => {
                let message = match running {
                    Some(version) => format!("{}; version {version} goes on as it was", because.message),
                    None => because.message.clone(),
                };
                at(READY, "False", &Because { reason: because.reason.clone(), message })
            }
            None => at(READY, "True", ready),
        });
        conditions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of<'a>(conditions: &'a [Condition], name: &str) -> (&'a str, &'a str) {
        let condition = conditions.iter().find(|condition| condition.type_ == name).unwrap();
        (&condition.status, &condition.reason)
    }

    #[test]
    fn ready_has_the_reason_of_what_refused_and_the_rest_waits() {
        let mut findings = Findings::default();
        findings.passed(Stage::Resolved, Because::new("Resolved", ""));
        findings.refused(Stage::Verified, Because::new("Unsigned", "no signature"));
        let conditions =
            findings.conditions(&[], Some(3), Timestamp::UNIX_EPOCH, &Because::new("Ready", ""), None);
        assert_eq!(status_of(&conditions, "Resolved"), ("True", "Resolved"));
        assert_eq!(status_of(&conditions, "Verified"), ("False", "Unsigned"));
        assert_eq!(status_of(&conditions, "DomainReady"), ("Unknown", "Waiting"));
        assert_eq!(status_of(&conditions, "Ready"), ("False", "Unsigned"));
    }

    #[test]
    fn a_refused_change_leaves_what_is_said_of_the_running_version() {
        let mut findings = Findings::default();
        for stage in Stage::ALL {
            findings.passed(stage, Because::new("Good", ""));
        }
        let ready = Because::new("Ready", "");
        let before = findings.conditions(&[], Some(1), Timestamp::UNIX_EPOCH, &ready, None);
        let mut findings = Findings::default();
        findings.refused(Stage::Resolved, Because::new("NoMatchingVersion", "none"));
        let after = findings.conditions(&before, Some(2), Timestamp::UNIX_EPOCH, &ready, Some("1.0.0"));
        assert_eq!(status_of(&after, "Resolved"), ("False", "NoMatchingVersion"));
        assert_eq!(status_of(&after, "DomainReady"), ("True", "Good"));
        assert_eq!(after[3].observed_generation, Some(1));
        assert_eq!(status_of(&after, "Ready"), ("False", "NoMatchingVersion"));
        assert!(after[6].message.contains("1.0.0 goes on"));
    }

    #[test]
    fn a_transition_time_moves_with_the_status_only() {
        let mut findings = Findings::default();
        findings.refused(Stage::Resolved, Because::new("A", ""));
        let first = findings.conditions(&[], None, Timestamp::UNIX_EPOCH, &Because::new("Ready", ""), None);
        findings.refused(Stage::Resolved, Because::new("B", ""));
        let later = Timestamp::from_second(100).unwrap();
        let second = findings.conditions(&first, None, later, &Because::new("Ready", ""), None);
        assert_eq!(second[0].last_transition_time.0, Timestamp::UNIX_EPOCH);
        assert_eq!(second[0].reason, "B");
        let mut findings = Findings::default();
        findings.passed(Stage::Resolved, Because::new("C", ""));
        let third = findings.conditions(&second, None, later, &Because::new("Ready", ""), None);
        assert_eq!(third[0].last_transition_time.0, later);
    }
}
