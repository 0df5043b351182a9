use std::collections::BTreeSet;

use crate::publisher::Publisher;

/// For whom an anchor or a pinned key may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Binding {
    /// Only for whom the leaf certificate names.
    Leaf,
    /// For these.
    Named(BTreeSet<Publisher>),
    /// For anyone, because the operator wrote so.
    Anyone,
}

impl Binding {
    /// Whether a pinned key so bound speaks for the publisher.
    pub(crate) fn key_speaks_for(&self, publisher: &Publisher) -> bool {
        match self {
            Self::Leaf => false,
            Self::Named(publishers) => publishers.contains(publisher),
            Self::Anyone => true,
        }
    }

    /// Whether a leaf with these names, under an anchor so bound, speaks for the publisher.
    ///
    /// Names in the leaf always count: a CA that signs for many says with them which one it meant. A leaf without any speaks for a
    /// publisher only where its anchor is for that one alone.
    pub(crate) fn leaf_speaks_for(&self, names: &[String], publisher: &Publisher) -> bool {
        let named = names.iter().any(|name| name.eq_ignore_ascii_case(publisher.as_str()));
        let nameless = names.is_empty();
        match self {
            Self::Leaf => named,
            Self::Named(publishers) => {
                publishers.contains(publisher) && (named || nameless && publishers.len() == 1)
            }
            Self::Anyone => named || nameless,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_for_whom() {
        let publisher: Publisher = "example.com".parse().unwrap();
        let other: Publisher = "example.org".parse().unwrap();
        let one = Binding::Named([publisher.clone()].into());
        let two = Binding::Named([publisher.clone(), other.clone()].into());
        let stranger = Binding::Named([other].into());
        let named = ["Example.com".to_owned()];
        let elsewhere = ["example.net".to_owned(), "*.example.com".to_owned()];
        for (binding, by_key, by_name, by_other_name, nameless) in [
            (&Binding::Leaf, false, true, false, false),
            (&one, true, true, false, true),
            (&two, true, true, false, false),
            (&stranger, false, false, false, false),
            (&Binding::Anyone, true, true, false, true),
        ] {
            assert_eq!(binding.key_speaks_for(&publisher), by_key, "{binding:?}");
            assert_eq!(binding.leaf_speaks_for(&named, &publisher), by_name, "{binding:?}");
            assert_eq!(binding.leaf_speaks_for(&elsewhere, &publisher), by_other_name, "{binding:?}");
            assert_eq!(binding.leaf_speaks_for(&[], &publisher), nameless, "{binding:?}");
        }
    }
}
