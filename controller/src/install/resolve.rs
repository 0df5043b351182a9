use std::sync::Arc;

use annex_apis::{ExtensionVersion, NoChoice, tenant_id};
use annex_core::{DomainRoot, ExtensionName, HostName, InstallIdentity, compute_domain};

use super::{
    conditions::{Because, Findings, Stage},
    facts::Facts,
    parameters,
    site::Site,
};
use crate::compute::State;

/// What is to be installed, and where it is to answer. Who has one has passed every check that needs nothing but what is
/// known already.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resolved {
    pub(super) version: String,
    pub(super) host: HostName,
    pub(super) identity: InstallIdentity,
    /// What the catalog has of it.
    pub(super) published: Arc<ExtensionVersion>,
    /// The registry says that it is verified; the bytes have not been looked at yet.
    pub(super) verified: bool,
}

/// Decides, from the facts alone, what is to be installed. What it found on the way is written into `findings`, the first
/// refusal included.
pub(super) fn resolve(facts: &Facts, root: &DomainRoot, findings: &mut Findings) -> Option<Resolved> {
    let version = match version(facts) {
        Ok(version) => version,
        Err(because) => {
            findings.refused(Stage::Resolved, because);
            return None;
        }
    };
    let number = version.spec.version.clone();
    let satisfies = format!("version {number} satisfies {}", facts.install.spec.version);
    findings.passed(
        Stage::Resolved,
        match claims_refusal(facts) {
            None if version.spec.yanked => Because::new(
                "VersionYanked",
                format!("{satisfies}, but its publisher has yanked it: it stays, and nobody gets it anew"),
            ),
            None if let Some(pinned) = &facts.pinned => {
                let Because { reason, message } = &pinned.because;
                Because::new(reason.clone(), format!("{satisfies}; {message}"))
            }
            None => Because::new("Resolved", satisfies),
            // Not a reason to stop what runs: a new release of Annex may ask for more than the workspace once granted.
            Some(missing) => Because::new(missing.reason, format!("{satisfies}, but {}", missing.message)),
        },
    );

    let mut verified = false;
    match verification(&version, facts.allow_unsigned) {
        Verification::Verified => {
            findings.passed(Stage::Verified, Because::new("Verified", "a trusted publisher signed it"));
            verified = true;
        }
        Verification::Waived => findings.waived(
            Stage::Verified,
            Because::new(
                "UnsignedAllowed",
                "nobody verified this version; the platform is set up to install it all the same",
            ),
        ),
        Verification::Refused(because) => {
            findings.refused(Stage::Verified, because);
            return None;
        }
    }

    match environment(facts) {
        Ok(because) => findings.passed(Stage::EnvironmentReady, because),
        Err(because) => {
            findings.refused(Stage::EnvironmentReady, because);
            return None;
        }
    }

    match domain(facts, root, &version) {
        Ok((host, identity)) => {
            Some(Resolved { version: number, host, identity, published: version, verified })
        }
        Err(because) => {
            findings.refused(Stage::DomainReady, because);
            None
        }
    }
}

/// Whether the version that is wanted is the one that is installed.
pub(super) fn is_choice_installed(facts: &Facts) -> bool {
    let installed = facts.install.status.as_ref().and_then(|status| status.content_hash.as_ref());
    choose(facts).is_ok_and(|chosen| Some(&chosen.spec.content_hash) == installed)
}

fn version(facts: &Facts) -> Result<Arc<ExtensionVersion>, Because> {
    let spec = &facts.install.spec;
    if let Some(missing) = claims_refusal(facts)
        && facts.install.status.as_ref().is_none_or(|status| status.installed_version.is_none())
    {
        return Err(missing);
    }
    let tenant = &facts.tenant.spec;
    if tenant.suspended {
        return Err(Because::new(
            "TenantSuspended",
            "the platform has suspended this workspace; ask its operator",
        ));
    }
    if tenant.allowed_extensions.as_ref().is_some_and(|allowed| !allowed.contains(&spec.extension)) {
        return Err(Because::new(
            "ExtensionNotAllowed",
            format!("the platform does not allow {} in this workspace; ask its operator", spec.extension),
        ));
    }
    if facts.extension.is_none() {
        return Err(Because::new(
            "ExtensionNotFound",
            format!("the catalog has no extension {}", spec.extension),
        ));
    }
    if let Some(rival) = &facts.rival {
        return Err(Because::new(
            "AlreadyInstalled",
            format!(
                "{} is installed in this workspace by the Install {}/{}",
                spec.extension, rival.namespace, rival.name
            ),
        ));
    }
    if let Some(most) = facts.quota_full {
        return Err(Because::new(
            "QuotaExceeded",
            format!(
                "the workspace may have {most} installs, and has them; delete one, or ask the platform's operator"
            ),
        ));
    }
    let chosen = choose(facts)?;
    if !facts.missing_secrets.is_empty() {
        return Err(Because::new(
            "SecretNotFound",
            format!(
                "no Secret with the label annex.sh/managed=true in this namespace is named {}",
                facts.missing_secrets.join(", ")
            ),
        ));
    }
    let given = facts.parameters.clone()?.0.into_iter().collect();
    parameters::check(chosen.spec.parameters_schema.as_ref(), &given)
        .map_err(|why| Because::new("ParametersInvalid", why))?;
    Ok(chosen)
}

fn claims_refusal(facts: &Facts) -> Option<Because> {
    (!facts.missing_claims.is_empty()).then(|| {
        let claims = facts.missing_claims.join(", ");
        Because::new(
            "ClaimsNotAccepted",
            format!(
                "the workspace's APIBinding does not grant Annex what it asks for: {claims}; accept these claims with every \
                 verb, for objects labelled annex.sh/managed=true (subjectaccessreviews with matchAll)"
            ),
        )
    })
}

fn choose(facts: &Facts) -> Result<Arc<ExtensionVersion>, Because> {
    let spec = &facts.install.spec;
    if let Some(pinned) = &facts.pinned {
        // Where it is withdrawn, too, the next one is not taken before its time.
        let there = facts.versions.iter().find(|version| version.spec.version == pinned.to);
        return there.cloned().ok_or_else(|| pinned.because.clone());
    }
    let may_be_installed = |version: &ExtensionVersion| match verification(version, facts.allow_unsigned) {
        Verification::Verified | Verification::Waived => Some(true),
        // The registry judges what is published a moment later.
        Verification::Refused(because)
            if because.reason == "Unsigned" && version.spec.signature.is_some() =>
        {
            None
        }
        Verification::Refused(_) => Some(false),
    };
    annex_apis::choose(&facts.install, &facts.versions, may_be_installed).cloned().map_err(
        |none| match none {
            NoChoice::Invalid(why) => {
                Because::new("InvalidVersion", format!("spec.version is no version requirement: {why}"))
            }
            NoChoice::Withdrawn(version) => {
                let message = format!(
                    "version {version} is not in the catalog any more; set spec.version to get another"
                );
                Because::new("VersionWithdrawn", message)
            }
            NoChoice::NoMatch(newest) => {
                let offered =
                    match newest.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join(", ") {
                        none if none.is_empty() => "the catalog has no version of it".to_owned(),
                        some => format!("the newest in the catalog are {some}"),
                    };
                let message =
                    format!("no version of {} satisfies {}; {offered}", spec.extension, spec.version);
                Because::new("NoMatchingVersion", message)
            }
        },
    )
}

pub(super) enum Verification {
    Verified,
    Waived,
    Refused(Because),
}

pub(super) fn verification(version: &ExtensionVersion, allow_unsigned: bool) -> Verification {
    let conditions = version.status.iter().flat_map(|status| &status.conditions);
    match conditions.into_iter().find(|condition| condition.type_ == "Verified") {
        Some(condition) if condition.status == "True" => Verification::Verified,
        // Somebody looked and said no. That is not the same as nobody having looked, and no flag waives it.
        Some(condition) if condition.status == "False" => Verification::Refused(Because::new(
            "VerificationFailed",
            format!("version {} did not pass verification: {}", version.spec.version, condition.reason),
        )),
        _ if allow_unsigned => Verification::Waived,
        _ => Verification::Refused(Because::new(
            "Unsigned",
            format!(
                "nobody has verified version {}; its publisher has to publish it signed",
                version.spec.version
            ),
        )),
    }
}

fn environment(facts: &Facts) -> Result<Because, Because> {
    let platform = facts.install.spec.environment_ref.is_none();
    let (place, state) = match &facts.site {
        Site::Direct => return Ok(Because::new("PlatformCompute", "runs on the platform's compute")),
        Site::None(because) => return Err(because.clone()),
        Site::Gone => {
            return Err(Because::new(
                "EnvironmentNotFound",
                "spec.environmentRef names no ManagedEnvironment in this namespace",
            ));
        }
        Site::Unknown => {
            return Err(Because::new("EnvironmentUnknown", "the environment is still being looked at"));
        }
        Site::Cluster(place, state) => (place, state),
    };
    let whose = if platform { "the platform's compute cluster" } else { "the environment's cluster" };
    match state {
        State::Known if platform => Ok(Because::new("PlatformCompute", "runs on the platform's compute")),
        State::Known => Ok(Because::new("EnvironmentUsed", format!("runs in {}", place.describe()))),
        State::Listing => Err(Because::new("ComputeListing", format!("{whose} is being looked at"))),
        State::NoKnative => {
            Err(Because::new("KnativeNotInstalled", format!("{whose} has no Knative Serving")))
        }
        State::Refused(_) if platform => Err(Because::new(
            "ComputeRefused",
            format!("{whose} does not let Annex see what it needs; the platform's operator has to allow it"),
        )),
        State::Refused(why) => Err(Because::new(
            "ComputeRefused",
            format!("{whose} does not let Annex see what it needs: {why}"),
        )),
        State::Unreachable(_) if platform => Err(Because::new(
            "ComputeUnreachable",
            format!("{whose} does not answer; it is tried again by itself"),
        )),
        State::Unreachable(why) => Err(Because::new(
            "ComputeUnreachable",
            format!("{whose} does not answer ({why}); it is tried again by itself"),
        )),
    }
}

fn domain(
    facts: &Facts,
    root: &DomainRoot,
    version: &ExtensionVersion,
) -> Result<(HostName, InstallIdentity), Because> {
    let invalid = |message: String| Because::new("DomainInvalid", message);
    let extension = facts.install.spec.extension.as_str();
    let id = tenant_id(&facts.tenant, &facts.key.cluster);
    let tenant_part = facts.tenant.spec.slug.as_deref().unwrap_or(id);
    let extension_part = match facts.extension.as_ref().and_then(|extension| extension.spec.slug.clone()) {
        Some(slug) => slug,
        None => extension
            .parse::<ExtensionName>()
            .map_err(|error| error.to_string())
            .and_then(|name| name.default_slug().map_err(|error| error.to_string()))
            .map_err(|error| {
                invalid(format!("no host name can be made from the extension's name, which {error}"))
            })?
            .to_string(),
    };
    let host = compute_domain(tenant_part, &extension_part, root)
        .map_err(|error| invalid(format!("no host name can be made: {error}")))?;
    let identity = InstallIdentity {
        tenant_id: id.parse().map_err(|error| invalid(format!("the tenant's id {error}")))?,
        extension_id: extension.parse().map_err(|error| invalid(format!("the extension's name {error}")))?,
        content_hash: version
            .spec
            .content_hash
            .parse()
            .map_err(|error| invalid(format!("the version's content hash {error}")))?,
    };
    Ok((host, identity))
}
