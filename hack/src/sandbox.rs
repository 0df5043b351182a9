//! A folder that is gone when its owner is.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use anyhow::{Context as _, Result};

/// A temporary folder, removed on drop.
pub(crate) struct Sandbox {
    path: PathBuf,
}

impl Sandbox {
    /// A new, empty folder.
    pub(crate) fn create(name: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("annex-{name}-{}", process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("cannot empty {}", path.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    #[cfg(test)]
    pub(crate) fn new(name: &str) -> Self {
        Self::create(name).unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Nobody is left to tell, and the system empties this place by itself.
        drop(fs::remove_dir_all(&self.path));
    }
}
