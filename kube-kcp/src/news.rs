use std::collections::VecDeque;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

/// Longer than any write is under way, at whatever rate objects go.
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
    ///
    /// A relist is not to be asked about but taken as it is: after a restore from a backup its versions are older than those known.
    pub fn judge<K: ResourceExt>(&self, known: Option<&K>, object: &K) -> Found {
        let (uid, version) = (object.uid(), version_of(object.meta()));
        if known.is_some_and(|known| known.uid() == uid && version_of(known.meta()) > version) {
            return Found::Older;
        }
        let deleted = |(of, at): &(String, u64)| uid.as_ref() == Some(of) && version <= *at;
        if self.deleted.iter().any(deleted) { Found::Deleted } else { Found::News }
    }

    /// A watch has told that this is deleted. Of a watch with a selector that may only mean that the selector no longer selects it,
    /// so that what is newer than this is news again.
    pub fn deleted(&mut self, object: &ObjectMeta) {
        let Some(uid) = object.uid.clone() else { return };
        if self.deleted.len() >= DELETED {
            self.deleted.pop_front();
        }
        self.deleted.push_back((uid, version_of(object)));
    }
}

/// Versions of one object are ordered numbers (KEP-5504). One that is none is taken as the oldest, so that it is replaced.
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
    fn an_older_version_of_the_same_object_is_no_news() {
        let news = News::default();
        let known = object("1", "12");
        assert_eq!(news.judge(Some(&known), &object("1", "9")), Found::Older, "by number, not by letter");
        assert_eq!(news.judge(Some(&known), &object("1", "12")), Found::News);
        assert_eq!(news.judge(Some(&known), &object("1", "100")), Found::News);
        assert_eq!(
            news.judge(Some(&known), &object("2", "9")),
            Found::News,
            "another object of the same name"
        );
        assert_eq!(news.judge(Some(&object("1", "x")), &object("1", "1")), Found::News);
        assert_eq!(news.judge(None, &object("1", "1")), Found::News);
    }

    #[test]
    fn what_was_deleted_is_no_news() {
        let mut news = News::default();
        news.deleted(&object("1", "7").metadata);
        news.deleted(&ObjectMeta::default());
        for late in ["3", "7", "x"] {
            assert_eq!(news.judge(None, &object("1", late)), Found::Deleted, "{late}");
        }
        assert_eq!(news.judge(None, &object("2", "4")), Found::News, "another one of the name");
        assert_eq!(news.judge(None, &ConfigMap::default()), Found::News);
    }

    #[test]
    fn what_a_selector_selects_again_is_news() {
        let mut news = News::default();
        news.deleted(&object("1", "7").metadata);
        assert_eq!(news.judge(None, &object("1", "8")), Found::News);
    }

    #[test]
    fn only_the_last_of_what_was_deleted_are_known() {
        let mut news = News::default();
        for uid in 0..=DELETED {
            news.deleted(&object(&uid.to_string(), "7").metadata);
        }
        assert_eq!(news.judge(None, &object("0", "1")), Found::News);
        assert_eq!(news.judge(None, &object("1", "1")), Found::Deleted);
    }
}
