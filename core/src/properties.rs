//! What holds for every input, tried with arbitrary ones.

use proptest::prelude::*;

use crate::{ContentHash, DomainRoot, ExtensionName, HostName, Slug, compute_domain, parse_requirement};

/// Roots that parse, from two short labels to names near the limit.
fn roots() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?", 1..8)
        .prop_map(|labels| format!("{}.example", labels.join(".")))
}

/// Ids that are likely to give a slug, or be a UUID.
fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).to_string()),
        any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).to_string().to_uppercase()),
        "[-_. A-Za-z0-9]{0,40}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn a_slug_is_short_safe_and_its_own_slug(text in ids()) {
        if let Ok(slug) = Slug::of(&text) {
            let slug_text = slug.as_str();
            prop_assert!((1..=Slug::MAX_LENGTH).contains(&slug_text.len()));
            prop_assert!(!slug_text.starts_with('-') && !slug_text.ends_with('-') && !slug_text.contains("--"));
            prop_assert!(slug_text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            prop_assert_eq!(&Slug::of(slug_text).unwrap(), &slug);
        }
    }

    #[test]
    fn a_slug_follows_the_rule_step_by_step(text in ids()) {
        let mut by_rule = String::new();
        for c in text.to_lowercase().chars() {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                by_rule.push(c);
            } else if !by_rule.ends_with('-') {
                by_rule.push('-');
            }
        }
        let by_rule: String = by_rule.trim_matches('-').chars().take(12).collect();
        let by_rule = by_rule.trim_end_matches('-');
        prop_assert_eq!(Slug::of(&text).map(|slug| slug.to_string()).unwrap_or_default(), by_rule);
    }

    #[test]
    fn a_computed_domain_is_a_host_name(tenant in ids(), extension in ids(), root in roots()) {
        let root: DomainRoot = root.parse().unwrap();
        if let Ok(host) = compute_domain(&tenant, &extension, &root) {
            prop_assert_eq!(&host.as_str().parse::<HostName>().unwrap(), &host);
            prop_assert_eq!(&format!("{host}.:443").to_uppercase().parse::<HostName>().unwrap(), &host);
            prop_assert!(host.as_str().len() <= 253);
            prop_assert!(host.as_str().split('.').all(|label| (1..=63).contains(&label.len())));
            let (label, rest) = host.as_str().split_once('.').unwrap();
            prop_assert_eq!(rest, root.as_str());
            prop_assert_eq!(label.split("--").count(), 2, "tenant and extension can be told apart");
        }
    }

    #[test]
    fn ids_with_a_letter_always_give_a_domain(tenant in ".*[a-z].*", extension in ".*[0-9].*") {
        let root: DomainRoot = "apps.localhost".parse().unwrap();
        let domain = compute_domain(&tenant, &extension, &root);
        let reserved = Slug::of(&tenant).is_ok_and(|slug| slug.as_str() == "xn");
        prop_assert_eq!(domain.is_err(), reserved);
    }

    #[test]
    fn nothing_panics(text in any::<String>()) {
        let _ = Slug::of(&text);
        let _ = text.parse::<HostName>();
        let _ = text.parse::<DomainRoot>();
        let _ = text.parse::<ContentHash>();
        let _ = text.parse::<ExtensionName>();
        let _ = parse_requirement(&text);
    }

    #[test]
    fn what_is_read_is_read_again_alike(text in "[-.:A-Za-z0-9]{0,40}") {
        if let Ok(host) = text.parse::<HostName>() {
            prop_assert_eq!(&host.as_str().parse::<HostName>().unwrap(), &host);
        }
        if let Ok(root) = text.parse::<DomainRoot>() {
            prop_assert_eq!(&root.as_str().parse::<DomainRoot>().unwrap(), &root);
            prop_assert!(root.as_str().parse::<HostName>().is_ok());
        }
    }

    #[test]
    fn a_parsed_extension_name_has_a_slug(text in "[a-z0-9-]{1,20}(\\.[a-z0-9-]{1,20}){1,3}") {
        if let Ok(name) = text.parse::<ExtensionName>() {
            prop_assert!(name.default_slug().is_ok());
        }
    }

    #[test]
    fn digests_are_written_as_read(bytes in any::<[u8; 32]>()) {
        let hash = ContentHash::from_sha256(bytes);
        prop_assert_eq!(hash.to_string().parse::<ContentHash>().unwrap(), hash);
    }
}
