use std::collections::VecDeque;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

/// So many objects seldom go while one write is under way.
const DELETED: usize = 256;

/// For a cache that takes in what a watch brings and what its owner's writes answer: which of them is news. The two come in either
/// order, and whoever takes the last that came for the newest keeps an old object until the next relist, or one that is gone.
#[derive(Debug, Default)]
pub struct News {
    /// Uid and version of what was deleted last.
    deleted: VecDeque<(String, u64)>,
}

/// What an object is to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// As new as what is known of it, or newer: the cache takes it in.
    News,
    /// Older than what is known of it, which stays.
    Older,
    /// Deleted meanwhile: nothing would ever take it out again.
    Deleted,
}

impl News {
    /// What this object is to a cache that knows `known` under its name.
    pub fn judge<K: ResourceExt>(&self, known: Option<&K>, object: &K) -> Found {
        let (uid, version) = (object.uid(), version_of(object.meta()));
        if known.is_some_and(|known| version_of(known.meta()) > version) {
            return Found::Older;
        }
        let deleted = |(of, at): &(String, u64)| uid.as_ref() == Some(of) && version <= *at;
        if self.deleted.iter().any(deleted) { Found::Deleted } else { Found::News }
    }

    /// A list has this object, which is to be taken in as it is: after a restore from a backup it is older than what was known, and may
    /// have been deleted in a time that has not been any more.
    pub fn listed(&mut self, object: &ObjectMeta) {
        self.deleted.retain(|(of, _)| object.uid.as_ref() != Some(of));
    }

    /// A watch has told that this is deleted. True: what is `known` under its name goes with it. Not so where that is newer: another object
    /// of the name, or, of a watch with a selector, one that the selector selects again.
    pub fn deleted<K: ResourceExt>(&mut self, known: Option<&K>, object: &ObjectMeta) -> bool {
        if let Some(uid) = object.uid.clone() {
            if self.deleted.len() >= DELETED {
                self.deleted.pop_front();
            }
            self.deleted.push_back((uid, version_of(object)));
        }
        known.is_some_and(|known| version_of(known.meta()) <= version_of(object))
    }
}

/// Versions of objects of one kind are ordered numbers (KEP-5504). One that is none is taken as the oldest, so that it is replaced.
fn version_of(object: &ObjectMeta) -> u64 {
    object.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(uid: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    #[test]
    fn an_older_version_is_no_news() {
        let news = News::default();
        let known = object("1", "12");
        assert_eq!(news.judge(Some(&known), &object("1", "9")), Found::Older, "by number, not by letter");
        assert_eq!(news.judge(Some(&known), &object("1", "12")), Found::News);
        assert_eq!(news.judge(Some(&known), &object("1", "100")), Found::News);
        assert_eq!(
            news.judge(Some(&known), &object("2", "9")),
            Found::Older,
            "the one of the name before it"
        );
        assert_eq!(news.judge(Some(&known), &object("2", "13")), Found::News, "the next one of the name");
        assert_eq!(news.judge(Some(&object("1", "x")), &object("1", "1")), Found::News);
        assert_eq!(news.judge(None, &object("1", "1")), Found::News);
    }

    #[test]
    fn what_was_deleted_is_no_news() {
        let mut news = News::default();
        assert!(news.deleted(Some(&object("1", "6")), &object("1", "7").metadata));
        assert!(!news.deleted(None::<&ConfigMap>, &ObjectMeta::default()));
        for late in ["3", "7", "x"] {
            assert_eq!(news.judge(None, &object("1", late)), Found::Deleted, "{late}");
        }
        assert_eq!(news.judge(None, &object("2", "8")), Found::News, "another one of the name");
        assert_eq!(news.judge(None, &ConfigMap::default()), Found::News);
        news.listed(&object("1", "3").metadata);
        assert_eq!(news.judge(None, &object("1", "4")), Found::News, "it is there after a restore");
    }

    #[test]
    fn what_is_newer_than_a_deletion_stays() {
        let mut news = News::default();
        assert!(
            !news.deleted(Some(&object("2", "8")), &object("1", "7").metadata),
            "another one of the name"
        );
        assert!(!news.deleted(Some(&object("1", "8")), &object("1", "7").metadata), "it is selected again");
        assert_eq!(news.judge(None, &object("1", "8")), Found::News);
    }

    #[test]
    fn only_the_last_of_what_was_deleted_are_known() {
        let mut news = News::default();
        for uid in 0..=DELETED {
            news.deleted(None::<&ConfigMap>, &object(&uid.to_string(), "7").metadata);
        }
        assert_eq!(news.judge(None, &object("0", "1")), Found::News);
        assert_eq!(news.judge(None, &object("1", "1")), Found::Deleted);
    }
}
