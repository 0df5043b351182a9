//! The page of all codes.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../docs/bundle-format.md");

#[test]
fn no_code_is_there_twice() {
    let mut seen = BTreeSet::new();
    for code in annex_bundle::codes() {
        assert!(seen.insert(code), "{code}");
        assert!(
            code.starts_with(|c: char| c.is_ascii_uppercase())
                && code.chars().all(|c| c.is_ascii_alphanumeric()),
            "{code}"
        );
    }
}

#[test]
fn the_page_has_every_code_and_no_other() {
    let table = PAGE.split("## Codes").nth(1).unwrap();
    let on_page: BTreeSet<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .collect();
    assert_eq!(on_page, annex_bundle::codes().collect());
}
