//! Where the files of a bundle go while it is verified.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use annex_bundle::{BundlePath, Sink};

use super::bundle::FILES;

/// Writes the files below a folder that is thrown away unless they are verified.
pub(super) struct Unpack {
    root: PathBuf,
    current: Option<BufWriter<File>>,
}

impl Unpack {
    pub(super) fn into(folder: &Path) -> Self {
        Self { root: folder.join(FILES), current: None }
    }
}

impl Sink for Unpack {
    fn begin(&mut self, path: &BundlePath, _: u64) -> io::Result<()> {
        let at = self.root.join(path.as_str());
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent)?;
        }
        self.current = Some(BufWriter::new(File::create_new(at)?));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.current.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    fn end(&mut self) -> io::Result<()> {
        self.current.take().map_or(Ok(()), |mut file| file.flush())
    }
}
