use annex_apis::{ManagedEnvironment, ManagedEnvironmentStatus};
use jiff::Timestamp;

use super::probe::Knative;
use crate::conditions::{Because, READY, condition};

const KNATIVE_AVAILABLE: &str = "KnativeAvailable";

/// The status that says what was found. Pure.
pub(super) fn status(
    environment: &ManagedEnvironment,
    found: Result<Knative, &Because>,
    now: Timestamp,
) -> ManagedEnvironmentStatus {
    let before = environment.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let generation = environment.metadata.generation;
    let at = |type_: &str, status: &str, because: &Because| {
        condition(before, type_, status, because, generation, now)
    };
    let group = "serving.knative.dev/v1";
    let conditions = match found {
        Ok(knative) => {
            let spec = &environment.spec;
            let reach = match spec.namespaces.as_slice() {
                [] => "their namespaces can be listed".to_owned(),
                names => format!("they reach the namespaces {}", names.join(", ")),
            };
            let ready = Because::new("Ready", format!("the credentials open {}; {reach}", spec.api_url));
            let (status, because) = match knative {
                Knative::Served => ("True", Because::new("Served", format!("it serves {group}"))),
                Knative::NotServed => {
                    ("False", Because::new("NotServed", format!("it does not serve {group}")))
                }
                Knative::Unknown => {
                    ("Unknown", Because::new("NotSaid", format!("it does not say whether it serves {group}")))
                }
            };
            vec![at(READY, "True", &ready), at(KNATIVE_AVAILABLE, status, &because)]
        }
        Err(because) => {
            let waits = Because::new("Waiting", "waits for Ready");
            vec![at(READY, "False", because), at(KNATIVE_AVAILABLE, "Unknown", &waits)]
        }
    };
    ManagedEnvironmentStatus { observed_generation: generation, conditions }
}

#[cfg(test)]
mod tests {
    use annex_apis::ManagedEnvironmentSpec;

    use super::*;

    #[test]
    fn a_status_says_what_was_found_and_keeps_its_times() {
        let mut environment = ManagedEnvironment::new("e", ManagedEnvironmentSpec::default());
        environment.metadata.generation = Some(3);
        let because = Because::new("Forbidden", "no");
        let first = status(&environment, Err(&because), Timestamp::UNIX_EPOCH);
        let said = |status: &ManagedEnvironmentStatus| {
            status
                .conditions
                .iter()
                .map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason))
                .collect::<Vec<_>>()
        };
        assert_eq!(said(&first), ["Ready=False Forbidden", "KnativeAvailable=Unknown Waiting"]);
        assert_eq!(first.observed_generation, Some(3));
        environment.status = Some(first);
        let later = Timestamp::from_second(100).unwrap();
        let second = status(&environment, Err(&because), later);
        assert_eq!(environment.status.as_ref(), Some(&second), "nothing changed, so nothing is written");
        for (knative, said_of_it) in [
            (Knative::Served, "KnativeAvailable=True Served"),
            (Knative::NotServed, "KnativeAvailable=False NotServed"),
            (Knative::Unknown, "KnativeAvailable=Unknown NotSaid"),
        ] {
            let third = status(&environment, Ok(knative), later);
            assert_eq!(said(&third), ["Ready=True Ready", said_of_it]);
            assert_eq!(third.conditions[0].last_transition_time.0, later);
        }
    }
}
