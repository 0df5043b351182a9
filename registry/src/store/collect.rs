//! What uploads that did not end have left.

use std::{
    collections::HashMap,
    path::{Path as FsPath, PathBuf},
    time::{Duration, SystemTime},
};

use annex_core::ContentHash;
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStoreExt as _, path::Path};
use uuid::Uuid;

use super::{BundleStore, MARKER, StoreError, failed};

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A file that an upload has made, by its path.
fn part_of(path: &Path) -> Option<(ContentHash, Uuid)> {
    let mut parts = path.parts();
    let (algorithm, hex, name) = (parts.next()?, parts.next()?, parts.next()?);
    if algorithm.as_ref() != "sha256" || parts.next().is_some() || name.as_ref() == MARKER {
        return None;
    }
    let content = format!("sha256:{}", hex.as_ref()).parse().ok()?;
    let upload = name.as_ref().split('.').next()?.parse().ok()?;
    Some((content, upload))
}

impl BundleStore {
    /// Removes what is older than `age` and part of no bundle. `age` must be longer than any upload takes. What the registry has not made
    /// stays.
    ///
    /// # Errors
    /// The store does not answer; what was removed until then is.
    pub async fn collect(&self, age: Duration) -> Result<Collected, StoreError> {
        let limit = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut collected = self.collect_staged(limit).await;
        let mut old: HashMap<ContentHash, Vec<(Uuid, ObjectMeta)>> = HashMap::new();
        let mut listed = self.objects.list(Some(&Path::from("sha256")));
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            let is_old = SystemTime::from(object.last_modified) < limit;
            if let Some((content, upload)) = part_of(&object.location).filter(|_| is_old) {
                old.entry(content).or_default().push((upload, object));
            }
        }
        for (content, parts) in old {
            // Read after the list: an upload that was listed as old ended long ago, so that it is named by now or never.
            let named = match self.marker(&content).await {
                Ok(marker) => marker.map(|marker| marker.upload),
                // Somebody has to look at that; nothing is taken away from them.
                Err(StoreError::Damaged(..)) => continue,
                Err(error) => return Err(error),
            };
            for (_, object) in parts.iter().filter(|(upload, _)| Some(*upload) != named) {
                match self.objects.delete(&object.location).await {
                    Ok(()) => {
                        collected.files += 1;
                        collected.bytes += object.size;
                    }
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Ok(collected)
    }

    /// What a write into a folder leaves behind when its process ends: `<name>#<number>`, which lists do not show.
    async fn collect_staged(&self, limit: SystemTime) -> Collected {
        let Some(folder) = self.folder.clone() else { return Collected::default() };
        let sweep = move || sweep(&folder.join("sha256"), limit);
        tokio::task::spawn_blocking(sweep).await.unwrap_or_default()
    }
}

fn sweep(folder: &FsPath, limit: SystemTime) -> Collected {
    let mut collected = Collected::default();
    for bundle in entries(folder) {
        for file in entries(&bundle) {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let staged = name.rsplit_once('#').is_some_and(|(_, number)| number.parse::<u64>().is_ok());
            let Ok(metadata) = std::fs::symlink_metadata(&file) else { continue };
            let is_old = metadata.modified().is_ok_and(|modified| modified < limit);
            if staged && metadata.is_file() && is_old && std::fs::remove_file(&file).is_ok() {
                collected.files += 1;
                collected.bytes += metadata.len();
            }
        }
    }
    collected
}

fn entries(folder: &FsPath) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
