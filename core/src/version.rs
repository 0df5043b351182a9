//! Which version of an extension a requirement means.

use semver::{Version, VersionReq};

use crate::extension::ExtensionName;
use crate::host::MAX_NAME_LENGTH;

/// Why a text is no version requirement.
#[derive(Debug, thiserror::Error)]
#[error("is no version requirement: {reason}")]
pub struct RequirementError {
    /// What the semver crate says about it.
    reason: semver::Error,
}

/// Why a version cannot name a Kubernetes object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionNameError {
    /// The version has a character that object names do not, such as an upper-case letter in `1.0.0-RC.1`, or ends
    /// in a hyphen.
    #[error(
        "the version has upper-case letters or a hyphen beside a dot or at its end, which object names do not allow"
    )]
    Character,
    /// Extension and version together have more than 253 characters.
    #[error("extension and version together have {length} characters, more than 253")]
    TooLong {
        /// How many they have.
        length: usize,
    },
}

/// Reads a requirement as Cargo does: `1.2.3` alone means `^1.2.3`, exactly that one is `=1.2.3`, several are joined
/// with commas. `*` and a blank text mean any version that is no pre-release.
///
/// # Errors
/// [`RequirementError`] says what is wrong with the text. One that nothing can satisfy (`>2, <1`) is no error.
pub fn parse_requirement(text: &str) -> Result<VersionReq, RequirementError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(VersionReq::STAR);
    }
    VersionReq::parse(text).map_err(|reason| RequirementError { reason })
}

/// The highest of `versions` that satisfies `requirement`, with what came along with it.
///
/// A pre-release counts only where a comparator names a pre-release of the same major, minor and patch: `*` and
/// `>=1.0.0` never choose `2.0.0-rc.1`, `>=2.0.0-rc` does. Build metadata does not count for the requirement, but
/// decides between versions that differ in nothing else, so that the choice does not depend on their order.
pub fn highest<T>(
    requirement: &VersionReq,
    versions: impl Iterator<Item = (Version, T)>,
) -> Option<(Version, T)> {
    versions.filter(|(version, _)| requirement.matches(version)).max_by(|(a, _), (b, _)| a.cmp(b))
}

/// The name of the ExtensionVersion object: `<extension>-<version>`, `+` as `-`.
///
/// Not reversible, and not injective: `1.0.0+a` and `1.0.0-a` meet in one name. Read extension and version from the
/// object's spec, and refuse to publish the second of two that meet.
///
/// # Errors
/// [`VersionNameError`] where Kubernetes would not take the name.
pub fn version_object_name(extension: &ExtensionName, version: &Version) -> Result<String, VersionNameError> {
    let version = version.to_string().replace('+', "-");
    if version.split('.').any(|label| !is_object_name_label(label)) {
        return Err(VersionNameError::Character);
    }
    let name = format!("{extension}-{version}");
    if name.len() > MAX_NAME_LENGTH {
        return Err(VersionNameError::TooLong { length: name.len() });
    }
    Ok(name)
}

/// What may stand between two dots of an object's name. Kubernetes does not limit its length to 63 there.
fn is_object_name_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(requirement: &str, versions: &[&str]) -> Option<String> {
        let versions = versions.iter().map(|v| (Version::parse(v).unwrap(), ()));
        highest(&parse_requirement(requirement).unwrap(), versions).map(|(version, ())| version.to_string())
    }

    #[test]
    fn the_highest_that_satisfies() {
        let versions = ["1.9.0", "1.10.0", "0.9.0", "2.0.0"];
        assert_eq!(choose("*", &versions).as_deref(), Some("2.0.0"));
        assert_eq!(choose("", &versions).as_deref(), Some("2.0.0"));
        assert_eq!(choose("1.2.3", &versions).as_deref(), Some("1.10.0"), "a bare version is a caret");
        assert_eq!(choose("=1.9.0", &versions).as_deref(), Some("1.9.0"));
        assert_eq!(choose("<1, >=0.1", &versions).as_deref(), Some("0.9.0"));
        assert_eq!(choose("^3", &versions), None);
        assert_eq!(choose(">2, <1", &versions), None);
        assert_eq!(choose("*", &[]), None);
    }

    #[test]
    fn pre_releases_only_where_asked() {
        let versions = ["1.0.0", "2.0.0-rc.1"];
        assert_eq!(choose("*", &versions).as_deref(), Some("1.0.0"));
        assert_eq!(choose(">=1", &versions).as_deref(), Some("1.0.0"));
        assert_eq!(choose(">=2.0.0-rc", &versions).as_deref(), Some("2.0.0-rc.1"));
        assert_eq!(choose("*", &["2.0.0-rc.1"]), None);
    }

    #[test]
    fn order_does_not_matter_with_build_metadata() {
        assert_eq!(choose("1", &["1.0.0+a", "1.0.0+b"]), choose("1", &["1.0.0+b", "1.0.0+a"]));
    }

    #[test]
    fn what_is_no_requirement() {
        for text in ["latest", "1.2.3.4", ">", "v1", "1.2.3, latest", "^"] {
            let message = parse_requirement(text).unwrap_err().to_string();
            assert!(message.starts_with("is no version requirement: "), "{message}");
        }
    }

    fn name(version: &str) -> Result<String, VersionNameError> {
        version_object_name(&"com.example.hello".parse().unwrap(), &Version::parse(version).unwrap())
    }

    #[test]
    fn object_names() {
        assert_eq!(name("1.2.3").unwrap(), "com.example.hello-1.2.3");
        assert_eq!(name("1.2.3-rc.1+build.5").unwrap(), "com.example.hello-1.2.3-rc.1-build.5");
    }

    #[test]
    fn versions_that_cannot_name_an_object() {
        for version in ["1.2.3-RC.1", "1.2.3+Build", "1.2.3-a-", "1.2.3-a.-b"] {
            assert_eq!(name(version), Err(VersionNameError::Character), "{version}");
        }
        let long = format!("1.2.3-{}", "a".repeat(240));
        assert_eq!(name(&long), Err(VersionNameError::TooLong { length: 17 + 1 + 6 + 240 }));
    }
}
