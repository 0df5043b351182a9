//! The state directory's own record: whose it is, how it was set up, and who works on it now.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::paths::Paths;
use crate::private_file;
use crate::settings::Settings;

/// What tells our directory from one that a person named by mistake.
const KIND: &str = "annex-development-state";

#[derive(Serialize, Deserialize)]
struct Record {
    kind: String,
    settings: Settings,
}

/// The recorded settings; none where nothing was ever set up.
pub(crate) fn load(state_dir: &Path) -> Result<Option<Settings>> {
    let path = Paths::new(state_dir).state_file();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let record: Record = serde_json::from_str(&text).with_context(|| {
        format!("{} is not a record of `cargo xtask up`: remove it by hand", path.display())
    })?;
    if record.kind != KIND {
        bail!("{} is not a record of `cargo xtask up`: choose another --state", path.display());
    }
    Ok(Some(Settings { state_dir: state_dir.to_path_buf(), ..record.settings }))
}

pub(crate) fn save(settings: &Settings) -> Result<()> {
    let record = Record { kind: KIND.to_owned(), settings: settings.clone() };
    let text = serde_json::to_vec_pretty(&record).context("cannot render the settings")?;
    private_file::write(&Paths::new(&settings.state_dir).state_file(), &text)
}

/// Removes what `up` writes into the directory, if it is ours, and the directory when nothing else is in it: the
/// environments of the tests have theirs inside the default one, and a person may have put something there.
pub(crate) fn purge(state_dir: &Path) -> Result<()> {
    if !state_dir.exists() {
        return Ok(());
    }
    if load(state_dir)?.is_none() {
        bail!("{} has no state.json of ours, so it is not removed", state_dir.display());
    }
    for path in Paths::new(state_dir).written() {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    // Fails when something else is in it, which then stays.
    drop(fs::remove_dir(state_dir));
    Ok(())
}

/// Held while `up` or `down` change an environment: two at once would start everything twice.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for whoever holds it.
    pub(crate) fn acquire(paths: &Paths) -> Result<Self> {
        let failed = || format!("cannot lock {}", paths.lock().display());
        fs::create_dir_all(paths.state()).with_context(failed)?;
        let file = File::create(paths.lock()).with_context(failed)?;
        if file.try_lock().is_err() {
            crate::progress::note(&format!("waiting for another command on {}", paths.state().display()));
            file.lock().with_context(failed)?;
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    #[test]
    fn comes_back_as_it_went() {
        let sandbox = Sandbox::new("state");
        assert_eq!(load(sandbox.path()).unwrap(), None);
        let settings = Settings {
            kcp_port: 1,
            domain_root: "x.test".to_owned(),
            fsync: false,
            ..Settings::new(sandbox.path())
        };
        save(&settings).unwrap();
        assert_eq!(load(sandbox.path()).unwrap(), Some(settings));
    }

    #[test]
    fn purges_only_what_is_ours() {
        let sandbox = Sandbox::new("purge");
        let dir = sandbox.path().join("dir");
        fs::create_dir(&dir).unwrap();
        assert!(purge(&dir).is_err());
        fs::write(dir.join("state.json"), r#"{"kind":"other"}"#).unwrap();
        assert!(purge(&dir).is_err());
        assert!(dir.exists());
        fs::remove_file(dir.join("state.json")).unwrap();
        save(&Settings::new(&dir)).unwrap();
        fs::create_dir_all(dir.join("test")).unwrap();
        fs::create_dir_all(dir.join("logs/deep")).unwrap();
        purge(&dir).unwrap();
        assert!(dir.join("test").exists() && !dir.join("logs").exists());
        fs::remove_dir(dir.join("test")).unwrap();
        save(&Settings::new(&dir)).unwrap();
        purge(&dir).unwrap();
        assert!(!dir.exists());
    }
}
