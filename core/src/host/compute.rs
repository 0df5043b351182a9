//! The host name of an install.

use uuid::Uuid;

use super::{DomainRoot, DomainRootError, HostName, HostNameError};
use crate::slug::{Slug, SlugError};

/// Why no host name can be made, and of which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// The tenant gives no slug.
    #[error("tenant: {0}")]
    Tenant(SlugError),
    /// The extension gives no slug.
    #[error("extension: {0}")]
    Extension(SlugError),
    /// The root is no domain root. [`compute_domain`] takes one already parsed, this is for callers that parse it.
    #[error("root: {0}")]
    Root(DomainRootError),
    /// The tenant's part is `xn`: a label that begins with `xn--` is read as another alphabet (RFC 5890), so browsers would
    /// show another name or refuse it.
    #[error("tenant: gives xn, and a name that begins with xn-- is read as another alphabet")]
    Punycode,
    /// The parts are fine, but together they make no host name: with roots near the limit it is over 253 characters.
    #[error("whole name: {0}")]
    Name(HostNameError),
}

impl From<DomainRootError> for DomainError {
    fn from(error: DomainRootError) -> Self {
        Self::Root(error)
    }
}

/// The host name under which `tenant`'s install of `extension` answers: `<t>--<e>.<root>`.
///
/// `t` is the first 8 hex digits of `tenant` if it is a UUID, else its [`Slug`]; `e` alike of `extension`. A UUID is
/// one in RFC 4122's text form with hyphens, of any version, in upper or lower case, with or without `urn:uuid:`;
/// 32 hex digits in a row are not. The first label has at most 26 characters.
///
/// Two installs may meet in one name: UUIDv7 ids of the same minute share 8 digits, and long names share a slug. The
/// caller must decide who holds it.
///
/// # Errors
/// Says which part is wrong and why, see [`DomainError`].
pub fn compute_domain(tenant: &str, extension: &str, root: &DomainRoot) -> Result<HostName, DomainError> {
    let tenant = short_form(tenant).map_err(DomainError::Tenant)?;
    if tenant == "xn" {
        return Err(DomainError::Punycode);
    }
    let extension = short_form(extension).map_err(DomainError::Extension)?;
    format!("{tenant}--{extension}.{root}").parse().map_err(DomainError::Name)
}

/// The first 8 hex digits of a UUID, else the slug.
fn short_form(id: &str) -> Result<String, SlugError> {
    match uuid_of(id) {
        Some(uuid) => Ok(uuid.as_hyphenated().to_string().chars().take(8).collect()),
        None => Slug::of(id).map(|slug| slug.to_string()),
    }
}

fn uuid_of(id: &str) -> Option<Uuid> {
    const URN: &str = "urn:uuid:";
    let hyphenated = match id.split_at_checked(URN.len()) {
        // Both parts of a URN's prefix are case-insensitive (RFC 8141, section 3.1).
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(URN) => rest,
        _ => id,
    };
    // The uuid crate also reads forms without hyphens and in braces, which the length tells apart.
    if hyphenated.len() == uuid::fmt::Hyphenated::LENGTH { Uuid::try_parse(hyphenated).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::LabelError;

    fn root() -> DomainRoot {
        "apps.localhost".parse().unwrap()
    }

    fn domain(tenant: &str, extension: &str) -> String {
        compute_domain(tenant, extension, &root()).unwrap().to_string()
    }

    #[test]
    fn names_give_slugs() {
        assert_eq!(domain("acme", "hello"), "acme--hello.apps.localhost");
        assert_eq!(
            domain("Acme Corporation", "com.example.hello"),
            "acme-corpora--com-example.apps.localhost"
        );
        assert_eq!(domain("-acme", "--hello"), "acme--hello.apps.localhost");
    }

    #[test]
    fn no_name_is_read_as_another_alphabet() {
        assert_eq!(compute_domain("XN", "hello", &root()), Err(DomainError::Punycode));
        assert_eq!(domain("acme", "xn"), "acme--xn.apps.localhost");
    }

    #[test]
    fn uuids_give_their_first_eight_digits() {
        let v7 = "0190163D-8694-739B-AEA5-966C26F8AD91";
        assert_eq!(domain(v7, "hello"), "0190163d--hello.apps.localhost");
        assert_eq!(domain("acme", &v7.to_lowercase()), "acme--0190163d.apps.localhost");
        assert_eq!(domain("00000000-0000-0000-0000-000000000000", "x"), "00000000--x.apps.localhost");
        assert_eq!(domain(&format!("urn:uuid:{v7}"), "x"), "0190163d--x.apps.localhost");
        assert_eq!(domain(&format!("URN:UUID:{v7}"), "x"), "0190163d--x.apps.localhost");
    }

    #[test]
    fn what_only_looks_like_a_uuid_gives_a_slug() {
        assert_eq!(domain("0190163d8694739baea5966c26f8ad91", "x"), "0190163d8694--x.apps.localhost");
        assert_eq!(domain("{0190163d-8694-739b-aea5-966c26f8ad91}", "x"), "0190163d-869--x.apps.localhost");
        assert_eq!(domain("0190163g-8694-739b-aea5-966c26f8ad91", "x"), "0190163g-869--x.apps.localhost");
        assert_eq!(domain("0190163d-8694-739b-aea5-966c26f8ad9", "x"), "0190163d-869--x.apps.localhost");
        assert_eq!(domain(" 0190163d-8694-739b-aea5-966c26f8ad91", "x"), "0190163d-869--x.apps.localhost");
    }

    #[test]
    fn the_error_says_which_part() {
        let root = root();
        let message = |result: Result<HostName, DomainError>| result.unwrap_err().to_string();
        assert!(message(compute_domain("", "hello", &root)).starts_with("tenant: "));
        assert!(message(compute_domain("acme", "--", &root)).starts_with("extension: "));
        let wrong_root = "localhost".parse::<DomainRoot>().map_err(DomainError::from).unwrap_err();
        assert!(wrong_root.to_string().starts_with("root: "));
        let label = DomainError::Root(DomainRootError::Label(LabelError::TooLong { length: 64 }));
        assert_eq!(label.to_string(), "root: has a label of 64 characters, more than 63");
    }

    #[test]
    fn the_whole_name_has_at_most_253_characters() {
        // "acme--hello." has 12 characters.
        let root = |length: usize| -> DomainRoot {
            format!("{}{}", "a.".repeat((length - 1) / 2), "b".repeat(2 - length % 2)).parse().unwrap()
        };
        assert_eq!(compute_domain("acme", "hello", &root(241)).unwrap().as_str().len(), 253);
        let error = compute_domain("acme", "hello", &root(242)).unwrap_err();
        assert_eq!(error, DomainError::Name(HostNameError::TooLong { length: 254 }));
        assert_eq!(error.to_string(), "whole name: has 254 characters, more than 253");
    }
}
