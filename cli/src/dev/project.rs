//! The project: what builds it, what of it is packed, and what of it is watched.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use annex_bundle::{BundlePath, Limits, Unpacked, pack};
use annex_dev::{Child, Parameters};
use serde_json::{Map, Value};

use super::Arguments;
use super::words::Shown;
use crate::bundle::{self, Component, Tree, guest};
use crate::outcome::Failure;

pub(super) struct Project {
    dir: PathBuf,
    built_by: BuiltBy,
    parameters: Parameters,
    /// Where nothing of the project is.
    state: PathBuf,
}

/// What makes the component.
enum BuiltBy {
    /// Whoever else: it is there.
    Nobody(PathBuf),
    /// Cargo, in this folder.
    Cargo(PathBuf),
    /// A command for the shell, which leaves it there.
    Shell(String, PathBuf),
}

impl Project {
    pub(super) fn new(
        dir: &Path,
        arguments: &Arguments,
        parameters: Parameters,
        state: &Path,
    ) -> Result<Self, Failure> {
        let given = arguments.component.as_deref().map(absolute).transpose()?;
        let built_by = match &arguments.build {
            Some(command) => BuiltBy::Shell(command.clone(), given.unwrap_or_else(|| dir.join("main.wasm"))),
            None => match bundle::component(dir, given.as_deref())? {
                Component::Built(path) => BuiltBy::Nobody(path),
                Component::Guest(folder) => BuiltBy::Cargo(folder),
            },
        };
        Ok(Self { dir: dir.to_owned(), built_by, parameters, state: state.to_owned() })
    }

    /// What is looked at for changes.
    pub(super) fn watched(&self) -> annex_dev::Project {
        let (sources, component) = match &self.built_by {
            BuiltBy::Nobody(component) => (None, Some(component.clone())),
            BuiltBy::Cargo(folder) => (Some(folder.clone()), None),
            BuiltBy::Shell(_, component) => (Some(self.dir.clone()), Some(component.clone())),
        };
        let config = self.parameters.file().and_then(|file| std::path::absolute(file).ok());
        annex_dev::Project {
            dir: self.dir.clone(),
            sources,
            inputs: component.into_iter().chain(config).collect(),
            excluded: vec![self.state.clone()],
        }
    }

    /// Whether the manifest is one: asked before anything is built, which may take a minute.
    pub(super) fn check(&self) -> Result<(), Failure> {
        bundle::manifest(&self.dir).map(drop)
    }

    /// Builds, and says where the component is.
    pub(super) async fn build(&self, shown: &Shown) -> Result<PathBuf, Failure> {
        match &self.built_by {
            BuiltBy::Nobody(component) => Ok(component.clone()),
            BuiltBy::Cargo(folder) => {
                shown.builds("cargo, in guest/");
                guest::check_target(folder, end(guest::target_question(folder), true).await)?;
                guest::component(folder, end(guest::cargo(folder), true).await)
            }
            BuiltBy::Shell(command, component) => {
                shown.builds(command);
                let mut shell = Command::new("sh");
                shell.args(["-c", command]).current_dir(&self.dir);
                let output = end(shell, false).await;
                let output =
                    output.map_err(|error| Failure::Unable(format!("running sh failed: {error}")))?;
                if !output.status.success() {
                    let status = output.status;
                    return Err(Failure::Refused(format!(
                        "the build ended with {status}, see above: {command}"
                    )));
                }
                Ok(component.clone())
            }
        }
    }

    /// All of it in one archive, in memory.
    pub(super) async fn pack(&self, component: &Path) -> Result<(Unpacked, Vec<u8>), Failure> {
        let (dir, component) = (self.dir.clone(), component.to_owned());
        let packing = tokio::task::spawn_blocking(move || {
            let tree = Tree::of(&dir, &component)?;
            let open = |path: &BundlePath| File::open(tree.source(path));
            let mut archive = Vec::new();
            let packed = pack(tree.sizes(), open, &Limits::default(), &mut archive);
            packed.map(|packed| (packed, archive)).map_err(|error| bundle::failure(&error, &dir))
        });
        packing.await.map_err(|error| Failure::Unable(error.to_string()))?
    }

    /// What the extension is given, as it is now.
    pub(super) fn parameters(&self) -> Result<Map<String, Value>, Failure> {
        self.parameters.read().map_err(Failure::Refused)
    }
}

async fn end(command: Command, kept: bool) -> std::io::Result<std::process::Output> {
    Child::start(command, kept)?.end().await
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::file("reading", path, &error))
}
