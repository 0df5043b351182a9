//! Images from scratch: one layer with a program in it, without a container engine.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::command::finish;
use crate::process::hex;
use crate::tools;

/// Changes whenever the archives of the same files would come out differently.
const LAYOUT: &str = "1";
/// Nobody in particular, as a number: Knative's pods say runAsNonRoot, which a name could not prove.
const USER: u64 = 65_532;

/// What goes into an image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// With its tag, which has to change with the content.
    pub(crate) reference: String,
    /// What the container runs.
    pub(crate) entrypoint: String,
    /// Where each file comes from and where it goes.
    pub(crate) files: Vec<(PathBuf, String)>,
}

impl Image {
    /// One static program at `/name`.
    pub(crate) fn of(reference: String, program: &Path, entrypoint: &str) -> Self {
        let files = vec![(program.to_path_buf(), entrypoint.to_owned())];
        Self { reference, entrypoint: entrypoint.to_owned(), files }
    }

    /// The archive of it in the cache, written if it is not there.
    pub(crate) fn cached(&self) -> Result<PathBuf> {
        let key: String = hex(&Sha256::digest(format!("{LAYOUT} {} {:?}", self.reference, self.files)))
            .chars()
            .take(16)
            .collect();
        let name = self.reference.rsplit('/').next().unwrap_or("image").replace(':', "-");
        let path = tools::cache()?.join("images").join(format!("{name}-{key}.tar"));
        if !path.is_file() {
            self.write(&path)?;
        }
        Ok(path)
    }

    /// Writes it as `docker save` would: `ctr image import`, `docker load` and registries' tools read that.
    ///
    /// The same files give the same bytes, whenever and by whomever it is written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let failed = || format!("cannot write {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        let layer_path = path.with_added_extension(format!("{}.layer", process::id()));
        let draft = path.with_added_extension(format!("{}.tmp", process::id()));
        let layer = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&layer_path)
            .with_context(failed)?;
        // Unlinked at once: nothing is left of it however this ends.
        fs::remove_file(&layer_path).with_context(failed)?;
        self.archive(layer, File::create(&draft).with_context(failed)?).with_context(failed)?;
        fs::rename(&draft, path).with_context(failed)
    }

    fn archive(&self, layer: File, target: File) -> Result<()> {
        let mut layer = self.write_layer(layer)?;
        layer.seek(SeekFrom::Start(0))?;
        let mut hash = Sha256::new();
        let size = copy(&mut layer, |bytes| hash.update(bytes))?;
        let diff = hex(&hash.finalize());
        let user = format!("{USER}:{USER}");
        let config = serde_json::to_vec(&json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [self.entrypoint], "User": user, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff}")]},
            "history": [{"created_by": "cargo xtask"}],
        }))?;
        let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
        let layer_name = format!("{diff}/layer.tar");
        let manifest = serde_json::to_vec(
            &json!([{"Config": config_name, "RepoTags": [self.reference], "Layers": [layer_name]}]),
        )?;
        let mut archive = Builder::new(target);
        append(&mut archive, &config_name, 0o644, config.len() as u64, config.as_slice())?;
        layer.seek(SeekFrom::Start(0))?;
        append(&mut archive, &layer_name, 0o644, size, layer)?;
        append(&mut archive, "manifest.json", 0o644, manifest.len() as u64, manifest.as_slice())?;
        archive.into_inner()?.flush()?;
        Ok(())
    }

    fn write_layer(&self, target: File) -> Result<File> {
        let mut layer = Builder::new(target);
        for (folder, mode) in [("tmp/", 0o1777), ("etc/", 0o755)] {
            let mut header = header(mode, 0);
            header.set_entry_type(EntryType::Directory);
            layer.append_data(&mut header, folder, io::empty())?;
        }
        for (source, place) in &self.files {
            let file = File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
            let size = file.metadata()?.len();
            append(&mut layer, place.trim_start_matches('/'), 0o755, size, file)?;
        }
        Ok(layer.into_inner()?)
    }
}

fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append(archive: &mut Builder<File>, name: &str, mode: u32, size: u64, content: impl Read) -> Result<()> {
    archive.append_data(&mut header(mode, size), name, content)?;
    Ok(())
}

/// Reads to the end and returns how much there was.
fn copy(source: &mut impl Read, mut sink: impl FnMut(&[u8])) -> Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let length = source.read(&mut buffer)?;
        if length == 0 {
            return Ok(total);
        }
        sink(buffer.get(..length).unwrap_or_default());
        total += length as u64;
    }
}

/// The first 12 hex digits of a file's SHA-256, for a tag that changes with the content.
pub(crate) fn short_digest(path: &Path) -> Result<String> {
    let failed = || format!("cannot read {}", path.display());
    let mut hash = Sha256::new();
    copy(&mut File::open(path).with_context(failed)?, |bytes| hash.update(bytes)).with_context(failed)?;
    Ok(hex(&hash.finalize()).chars().take(12).collect())
}

/// The libraries that a program is linked with, and the loader, each at the path where the loader looks for it.
pub(crate) fn libraries(program: &Path) -> Result<Vec<(PathBuf, String)>> {
    let text = finish(Command::new("ldd").arg(program), &format!("ldd {}", program.display()))?;
    if text.contains("not found") {
        bail!("this system lacks a library of {}: {text}", program.display());
    }
    Ok(parse_ldd(&text).into_iter().map(|path| (PathBuf::from(&path), path)).collect())
}

/// `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux.so.2 (0x…)`; the kernel's own has no path.
fn parse_ldd(text: &str) -> Vec<String> {
    let path = |line: &str| {
        let place = line.split("=>").last()?.split_whitespace().next()?;
        place.starts_with('/').then(|| place.to_owned())
    };
    text.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let sandbox = Sandbox::new("images");
        let program = sandbox.path().join("program");
        fs::write(&program, "one").unwrap();
        let image = Image::of("dev.local/program:1".to_owned(), &program, "/program");
        let write = |name: &str| {
            image.write(&sandbox.path().join(name)).unwrap();
            fs::read(sandbox.path().join(name)).unwrap()
        };
        let first = write("first.tar");
        fs::remove_file(&program).unwrap();
        fs::write(&program, "one").unwrap();
        assert_eq!(write("second.tar"), first);
        fs::write(&program, "two").unwrap();
        assert_ne!(write("third.tar"), first);
        let left = fs::read_dir(sandbox.path()).unwrap().count();
        assert_eq!(left, 4, "no drafts are left");
    }

    #[test]
    fn a_layer_is_what_its_configuration_says() {
        let sandbox = Sandbox::new("layer");
        let program = sandbox.path().join("program");
        fs::write(&program, "content").unwrap();
        let path = sandbox.path().join("image.tar");
        Image::of("dev.local/p:1".to_owned(), &program, "/p").write(&path).unwrap();
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(File::open(&path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(name, content);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config: serde_json::Value =
            serde_json::from_slice(&files[manifest.pointer("/0/Config").unwrap().as_str().unwrap()]).unwrap();
        let layer = &files[manifest.pointer("/0/Layers/0").unwrap().as_str().unwrap()];
        let digest = format!("sha256:{}", hex(&Sha256::digest(layer)));
        assert_eq!(config.pointer("/rootfs/diff_ids/0").unwrap(), digest.as_str());
        assert_eq!(config.pointer("/config/User").unwrap(), "65532:65532");
        let mut modes = tar::Archive::new(layer.as_slice());
        let program = modes.entries().unwrap().map(Result::unwrap).last().unwrap();
        assert_eq!(program.path().unwrap(), Path::new("p"));
        assert_eq!(program.header().mode().unwrap(), 0o755);
    }

    #[test]
    fn reads_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        assert_eq!(parse_ldd(text), ["/lib/x/libm.so.6", "/lib64/ld.so.2"]);
    }
}
