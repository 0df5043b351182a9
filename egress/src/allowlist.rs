//! The two lists that must both allow a destination.

use std::fmt;
use std::str::FromStr;

use crate::destination::Destination;
use crate::rule::{Rule, RuleError};

/// What the operator allows, `EXT_EGRESS_ALLOWLIST`: rules with commas or white space between them. Empty: nothing.
///
/// A rule is `api.example.com`, or `*.example.com` for all names below, both maybe with `:PORT`. It means https, unless `http://` is
/// before it. A public address may be a rule, too: `8.8.8.8`, `[2606:4700::1111]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorList(Vec<Rule>);

/// What a manifest asks for, `egress[]`. Empty: nothing.
///
/// A rule is a host, or `*.` and what all of them end in, maybe with a port; absent, it is 443. It says nothing about TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestList(Vec<Rule>);

/// Which rule of a list is none, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowlistError {
    /// A rule is none.
    #[error("rule {position}, {text:?}, {error}")]
    Rule {
        /// Which one it is, counted from 1.
        position: usize,
        /// What it says, at most 64 characters of it.
        text: String,
        /// Why it is none.
        error: RuleError,
    },
    /// More rules than anybody writes by hand.
    #[error("has more than {MAX_RULES} rules")]
    TooMany,
}

/// The most rules of a list. Each request looks at all of them.
pub const MAX_RULES: usize = 1_024;

impl OperatorList {
    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a rule is about https.
    pub(crate) fn has_https(&self) -> bool {
        self.0.iter().any(Rule::is_https)
    }

    /// Whether a rule allows this scheme, host and port.
    #[must_use]
    pub fn allows(&self, destination: &Destination) -> bool {
        self.0.iter().any(|rule| rule.allows(destination))
    }
}

impl FromStr for OperatorList {
    type Err = AllowlistError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rules = text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|rule| !rule.is_empty());
        read(rules, Rule::of_operator).map(Self)
    }
}

impl fmt::Display for OperatorList {
    /// Each rule in full. It reads back as the same list.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(out, "{separator}{rule}")?;
        }
        Ok(())
    }
}

impl ManifestList {
    /// Reads the rules of a manifest.
    ///
    /// # Errors
    /// One of them is none, or there are too many. A manifest that was verified has neither.
    pub fn parse<'a>(rules: impl IntoIterator<Item = &'a str>) -> Result<Self, AllowlistError> {
        read(rules, Rule::of_manifest).map(Self)
    }

    /// Whether a rule names this host and port.
    #[must_use]
    pub fn allows(&self, destination: &Destination) -> bool {
        self.0.iter().any(|rule| rule.names(destination))
    }
}

fn read<'a>(
    rules: impl IntoIterator<Item = &'a str>,
    read: fn(&str) -> Result<Rule, RuleError>,
) -> Result<Vec<Rule>, AllowlistError> {
    let mut found = Vec::new();
    for (index, text) in rules.into_iter().enumerate() {
        if index >= MAX_RULES {
            return Err(AllowlistError::TooMany);
        }
        let rule = read(text).map_err(|error| AllowlistError::Rule {
            position: index + 1,
            text: text.chars().take(64).collect(),
            error,
        })?;
        found.push(rule);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::HostError;

    fn destination(uri: &str) -> Destination {
        Destination::of(&uri.parse().unwrap()).unwrap()
    }

    #[test]
    fn empty_means_none() {
        for text in ["", " ", ",", " ,\n,"] {
            let list: OperatorList = text.parse().unwrap();
            assert!(list.is_empty());
            assert!(!list.allows(&destination("https://example.com/")), "{text:?}");
        }
        assert!(!ManifestList::default().allows(&destination("https://example.com/")));
    }

    #[test]
    fn a_list_is_the_union_of_its_rules() {
        let list: OperatorList =
            "api.example.com, *.example.org:8443\nhttp://old.example.com".parse().unwrap();
        for uri in ["https://api.example.com/", "https://a.example.org:8443/", "http://old.example.com/"] {
            assert!(list.allows(&destination(uri)), "{uri}");
        }
        for uri in ["http://api.example.com/", "https://a.example.org/", "https://old.example.com/"] {
            assert!(!list.allows(&destination(uri)), "{uri}");
        }
    }

    #[test]
    fn a_manifest_says_nothing_about_tls() {
        let list = ManifestList::parse(["api.example.com", "old.example.com:80"]).unwrap();
        assert!(list.allows(&destination("https://api.example.com/")));
        assert!(list.allows(&destination("http://old.example.com/")));
        assert!(!list.allows(&destination("http://api.example.com/")));
        assert!(!list.allows(&destination("https://old.example.com/")));
    }

    #[test]
    fn an_error_says_which_rule() {
        let error = "a.example, 10.1.1.1/8".parse::<OperatorList>().unwrap_err();
        assert_eq!(error.to_string(), r#"rule 2, "10.1.1.1/8", has more than a host and a port"#);
        let error = ManifestList::parse(["a.example", "https://b.example"]).unwrap_err();
        assert_eq!(
            error,
            AllowlistError::Rule {
                position: 2,
                text: "https://b.example".into(),
                error: RuleError::SchemeNotYours
            }
        );
        let error = OperatorList::from_str("0x7f.1").unwrap_err();
        assert_eq!(
            error,
            AllowlistError::Rule {
                position: 1,
                text: "0x7f.1".into(),
                error: RuleError::Host(HostError::Number)
            }
        );
        assert_eq!("a.example,".repeat(MAX_RULES + 1).parse::<OperatorList>(), Err(AllowlistError::TooMany));
        assert!("a.example,".repeat(MAX_RULES).parse::<OperatorList>().is_ok());
    }

    proptest! {
        #[test]
        fn a_list_reads_back_as_itself(
            rules in proptest::collection::vec(
                "(http://|https://)?(\\*\\.)?[a-zA-Z0-9-]{1,6}(\\.[a-zA-Z0-9-]{1,6}){0,3}\\.?(:[0-9]{1,5})?",
                0..5,
            )
        ) {
            if let Ok(list) = rules.join(",").parse::<OperatorList>() {
                prop_assert_eq!(list.to_string().parse::<OperatorList>(), Ok(list));
            }
        }

        /// By another way than the one under test: labels are compared from the end.
        #[test]
        fn a_wildcard_allows_what_ends_in_its_labels(
            rule in "[a-c]{1,2}\\.[a-c]{1,2}",
            host in "[a-cA-C]{1,2}(\\.[a-cA-C]{1,2}){0,4}\\.?",
        ) {
            let list: OperatorList = format!("*.{rule}").parse().unwrap();
            let asked: Vec<String> =
                host.trim_end_matches('.').to_lowercase().rsplit('.').map(str::to_owned).collect();
            let suffix: Vec<&str> = rule.rsplit('.').collect();
            let expected = asked.len() > suffix.len() && asked.iter().zip(&suffix).all(|(a, b)| a == b);
            prop_assert_eq!(list.allows(&destination(&format!("https://{host}/"))), expected);
        }

        #[test]
        fn whatever_stands_there_nothing_panics(text in "\\PC{0,80}|[*a-z.:/@\\[\\]%0-9, -]{0,80}") {
            let operator = text.parse::<OperatorList>();
            if let Ok(list) = &operator {
                prop_assert!(!list.allows(&destination("https://zz.invalid/")) || text.contains("invalid"));
            }
            if let Err(error) = ManifestList::parse([text.as_str()]) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
