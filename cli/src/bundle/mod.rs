//! `kubectl annex bundle`: from a project to one archive.

pub(crate) mod guest;
mod tree;

use std::fs::File;
use std::path::{Path, PathBuf};

use annex_bundle::manifest::MAX_MANIFEST;
use annex_bundle::{Limits, Manifest, PackError, pack};
use clap::Args;

use crate::files;
use crate::outcome::Failure;
use crate::shell::quoted;
pub(crate) use tree::Tree;

pub(crate) const HELP: &str = "\
DIR has manifest.json, maybe ui/ and sbom.json, and the code in one of these forms: a Rust crate in guest/, which is built (cargo build \
--release --target wasm32-wasip2); main.wasm, a component that something else built; or what --component names. \
Nothing else of DIR is packed.

The same files give the same archive, byte by byte. The guest is built with the paths of this machine left out of it, so that \
the same sources with the same toolchain give the same component, too (unless RUSTFLAGS is set, which cargo then takes instead).

Examples:
  kubectl annex bundle notes -o notes.tar.zst
  kubectl annex bundle notes --component dist/notes.wasm -o notes.tar.zst

Exit codes: 0 FILE is written, 1 DIR gives no bundle (the code is one of docs/bundle-format.md) or the guest does not compile, \
2 wrong usage, 3 a file could not be read or written, or cargo or the target is missing.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The project, as init makes it
    pub(crate) dir: PathBuf,
    /// Where to write the archive
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// A component that is built already, instead of guest/ and main.wasm
    #[arg(long, value_name = "WASM")]
    pub(crate) component: Option<PathBuf>,
}

/// Builds and packs.
pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let (dir, output) = (&arguments.dir, &arguments.output);
    must_be_outside_of_ui(dir, output)?;
    // Before the guest is built, which may take a minute.
    manifest(dir)?;
    let component = match component(dir, arguments.component.as_deref())? {
        Component::Built(path) => path,
        Component::Guest(folder) => guest::build(&folder)?,
    };
    let tree = Tree::of(dir, &component)?;
    let packed = files::write(output, |out| {
        let open = |path: &annex_bundle::BundlePath| File::open(tree.source(path));
        pack(tree.sizes(), open, &Limits::default(), out).map_err(|error| failure(&error, output))
    })?;
    let manifest = &packed.manifest;
    let shown = quoted(&output.display().to_string());
    Ok(format!(
        "packed {} {} of {}: {} files, {} bytes\ncontent hash  {}\narchive       {}\nNext: kubectl annex sign {shown} --key KEY",
        manifest.name,
        manifest.version,
        manifest.publisher,
        packed.listing.files().len(),
        packed.size,
        packed.content_hash,
        packed.archive,
    ))
}

/// Reads the manifest of a project.
pub(crate) fn manifest(dir: &Path) -> Result<Manifest, Failure> {
    let path = dir.join("manifest.json");
    let manifest = Manifest::from_json(&files::read(&path, MAX_MANIFEST)?)
        .map_err(|error| Failure::refused(error.code(), format!("{}: {error}", path.display())))?;
    if let Some(schema) = manifest.parameters_schema.clone() {
        annex_parameters::check_schema(&schema.into()).map_err(|why| {
            let message = format!("{}: parametersSchema: {why}", path.display());
            Failure::refused("ParametersSchemaInvalid", message)
        })?;
    }
    Ok(manifest)
}

/// Where the code is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Component {
    Built(PathBuf),
    Guest(PathBuf),
}

pub(crate) fn component(dir: &Path, given: Option<&Path>) -> Result<Component, Failure> {
    if let Some(path) = given {
        return Ok(Component::Built(path.to_owned()));
    }
    let (built, guest) = (dir.join("main.wasm"), dir.join("guest"));
    match (built.exists(), guest.join("Cargo.toml").exists()) {
        (true, false) => Ok(Component::Built(built)),
        (false, true) => Ok(Component::Guest(guest)),
        // Whichever were taken, somebody would take it for the other.
        (true, true) => Err(Failure::Usage(format!(
            "{} has both main.wasm and guest/; remove one, or say which with --component",
            dir.display()
        ))),
        (false, false) => Err(Failure::Usage(format!(
            "{} has no code: neither guest/Cargo.toml nor main.wasm; say where the component is with --component",
            dir.display()
        ))),
    }
}

/// An archive in ui/ would be packed into the next one.
fn must_be_outside_of_ui(dir: &Path, output: &Path) -> Result<(), Failure> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (dir.join("ui").canonicalize(), folder.canonicalize()) {
        (Ok(ui), Ok(folder)) if folder.starts_with(&ui) => Err(Failure::Usage(format!(
            "{} is in ui/, and would be packed the next time; write it elsewhere",
            output.display()
        ))),
        _ => Ok(()),
    }
}

pub(crate) fn failure(error: &PackError, output: &Path) -> Failure {
    match error {
        PackError::Write(error) => Failure::file("writing", output, error),
        PackError::ReadFile { .. } | PackError::SizeChanged { .. } => Failure::Unable(error.to_string()),
        error => Failure::refused(error.code(), error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_code_is_in_one_place() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert!(matches!(component(dir, None), Err(Failure::Usage(text)) if text.contains("no code")));
        fs::create_dir(dir.join("guest")).unwrap();
        fs::write(dir.join("guest/Cargo.toml"), "").unwrap();
        assert_eq!(component(dir, None), Ok(Component::Guest(dir.join("guest"))));
        fs::write(dir.join("main.wasm"), "").unwrap();
        assert!(matches!(component(dir, None), Err(Failure::Usage(text)) if text.contains("both")));
        fs::remove_file(dir.join("guest/Cargo.toml")).unwrap();
        assert_eq!(component(dir, None), Ok(Component::Built(dir.join("main.wasm"))));
        let given = Path::new("/x.wasm");
        assert_eq!(component(dir, Some(given)), Ok(Component::Built(given.to_owned())));
    }
}
