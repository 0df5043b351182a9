//! Where the sources are, and cargo as a person in that folder would run it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// The folder of the cargo workspace.
#[derive(Clone, Debug)]
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// Looks upwards from the running package (set by cargo), then from the current folder.
    ///
    /// Not from the path at compile time: a moved checkout or a copied binary would work on the wrong folder.
    pub(crate) fn find() -> Result<Self> {
        let starts = [env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from), env::current_dir().ok()];
        for start in starts.into_iter().flatten() {
            if let Some(root) =
                start.ancestors().find(|folder| folder.join("hack/tools/kcp/go.mod").is_file())
            {
                return Ok(Self { root: root.to_path_buf() });
            }
        }
        bail!("this is not a checkout of Annex: run `cargo xtask` inside it")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Cargo, in the checkout, without what an outer `cargo run` or `cargo test` told its child about its own package:
    /// build scripts that watch those variables (ring's does) would otherwise rebuild at every change of caller.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(describes_the_calling_package) {
                command.env_remove(name);
            }
        }
        command
    }

    /// How a person standing in the checkout writes `path`.
    pub(crate) fn display(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

fn describes_the_calling_package(name: &str) -> bool {
    const PREFIXES: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    const NAMES: [&str; 4] = ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_settings_of_a_person() {
        assert!(describes_the_calling_package("CARGO_PKG_NAME"));
        assert!(!describes_the_calling_package("CARGO_HOME"));
        assert!(!describes_the_calling_package("CARGO_TARGET_DIR"));
    }

    #[test]
    fn finds_itself() {
        assert!(Checkout::find().unwrap().join("hack/Cargo.toml").is_file());
    }
}
