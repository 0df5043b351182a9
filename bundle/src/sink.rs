//! Where the files of a bundle go while it is read.

use std::collections::BTreeMap;
use std::io;

use crate::path::BundlePath;

/// Takes the files of a bundle as they come.
///
/// **Nothing it is given is trusted yet.** The verdict comes after the last byte: a sink writes to a place that is thrown
/// away unless the call that fed it returns `Ok`. Paths are safe to join to a folder; sizes are within the limits, and
/// each file gets exactly as many bytes as `begin` announced.
pub trait Sink {
    /// A file begins.
    ///
    /// # Errors
    /// Whatever keeps the sink from taking it; the reading ends.
    fn begin(&mut self, path: &BundlePath, size: u64) -> io::Result<()>;

    /// The next bytes of the file that began last.
    ///
    /// # Errors
    /// Whatever keeps the sink from taking them; the reading ends.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// The file that began last has all its bytes.
    ///
    /// # Errors
    /// Whatever keeps the sink from keeping it; the reading ends.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps nothing: for whoever wants only the verdict.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl Sink for Discard {
    fn begin(&mut self, _: &BundlePath, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps every file in memory. What it may take is up to the limits of the reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    files: BTreeMap<BundlePath, Vec<u8>>,
    current: Option<BundlePath>,
}

impl Memory {
    /// The files by path.
    pub fn into_files(self) -> BTreeMap<BundlePath, Vec<u8>> {
        self.files
    }
}

impl Sink for Memory {
    fn begin(&mut self, path: &BundlePath, _: u64) -> io::Result<()> {
        // The size is only announced: memory is taken as bytes come, or a header of 512 bytes could ask for all of it.
        self.files.insert(path.clone(), Vec::new());
        self.current = Some(path.clone());
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = self.current.as_ref().and_then(|path| self.files.get_mut(path)) {
            file.extend_from_slice(bytes);
        }
        Ok(())
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn begin(&mut self, path: &BundlePath, size: u64) -> io::Result<()> {
        (**self).begin(path, size)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).write(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        (**self).end()
    }
}
