//! `kubectl annex domain`.

use annex_core::{DomainError, DomainRoot, HostName, compute_domain};

use crate::args::DomainArguments;
use crate::outcome::{Failure, Outcome};

/// Computes the host name. Nothing is asked over the network.
pub(crate) fn run(arguments: &DomainArguments) -> Outcome {
    match host(arguments) {
        Ok(host) => Outcome::Done(host.to_string()),
        Err(error) => Outcome::Failed(Failure::Usage(error.to_string())),
    }
}

fn host(arguments: &DomainArguments) -> Result<HostName, DomainError> {
    let root: DomainRoot = arguments.root.parse().map_err(DomainError::Root)?;
    compute_domain(&arguments.tenant, &arguments.extension, &root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(tenant: &str, extension: &str, root: &str) -> Outcome {
        run(&DomainArguments { tenant: tenant.into(), extension: extension.into(), root: root.into() })
    }

    #[test]
    fn prints_the_host() {
        assert_eq!(
            domain("Acme Corp", "hello", "Apps.Localhost"),
            Outcome::Done("acme-corp--hello.apps.localhost".into())
        );
    }

    #[test]
    fn names_the_part_that_is_wrong() {
        for (outcome, part) in [
            (domain("--", "hello", "apps.localhost"), "tenant: "),
            (domain("acme", "", "apps.localhost"), "extension: "),
            (domain("acme", "hello", "localhost"), "root: "),
            (domain("acme", "hello", &format!("{}b.c", "a.".repeat(121))), "whole name: "),
        ] {
            assert!(
                matches!(&outcome, Outcome::Failed(Failure::Usage(text)) if text.starts_with(part)),
                "{outcome:?}"
            );
        }
    }
}
