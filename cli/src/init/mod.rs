//! `kubectl annex init`: a new extension project that builds as it is.

mod names;
mod project;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use annex_bundle::Publisher;
use annex_core::ExtensionName;
use clap::Args;

use crate::outcome::Failure;
use crate::shell::quoted;
use names::Names;

pub(crate) const HELP: &str = "\
Makes a manifest, a guest in Rust (a WebAssembly component for wasi:http/incoming-handler@0.2) with its own toolchain \
file, a small UI without inline scripts, and a README. DIR must be new or empty.

Example:
  kubectl annex init notes --publisher example.com
  kubectl annex bundle notes -o notes.tar.zst

Exit codes: 0 the project is there, 2 DIR is not empty, or a name is none, 3 a file could not be written.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder to make, which may be there but must be empty
    pub(crate) dir: PathBuf,
    /// Who publishes it: a DNS name of yours
    #[arg(long, value_name = "DNS", default_value = "example.com")]
    pub(crate) publisher: Publisher,
    /// The extension's name, in reverse DNS [default: the publisher's labels turned round, and the folder's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<ExtensionName>,
}

/// Writes the project.
pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let dir = &arguments.dir;
    let names = Names::choose(dir, &arguments.publisher, arguments.name.as_ref())?;
    let files = project::files(&names)?;
    must_be_empty(dir)?;
    for (path, content) in &files {
        let path = dir.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Failure::file("making", folder, &error))?;
        }
        fs::write(&path, content).map_err(|error| Failure::file("writing", &path, &error))?;
    }
    let shown = quoted(&dir.display().to_string());
    let archive = format!("{}.tar.zst", names.slug);
    Ok(format!(
        "made {} in {}: manifest.json, guest/, ui/ and a README\nNext: kubectl annex bundle {shown} -o {archive}",
        names.name,
        dir.display(),
    ))
}

fn must_be_empty(dir: &Path) -> Result<(), Failure> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::Usage(format!("{} is not empty; name a new folder", dir.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(Failure::Usage(format!("{} is a file; name a new folder", dir.display())))
        }
        Err(error) => Err(Failure::file("reading", dir, &error)),
    }
}
