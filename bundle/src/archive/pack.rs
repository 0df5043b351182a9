//! Writes an archive so that the same files always give the same bytes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder;

use super::error::ArchiveError;
use super::header::{self, BLOCK};
use super::tar::padding;
use super::unpack::{Unpacked, Unpacker};
use crate::code::codes;
use crate::limits::Limits;
use crate::path::{BundlePath, PathError};
use crate::shown::shown;
use crate::sink::Discard;

/// The level of compression. Part of the format's reproducibility: with another one the archive has other bytes, though the same
/// content hash.
const LEVEL: i32 = 15;

/// Bytes that are copied at once.
const CHUNK: usize = 128 << 10;

/// Why files cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read.
    #[error("reading {path} failed: {error}")]
    ReadFile {
        /// The file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// A file has not the size that it was said to have.
    #[error("{path} changed its size while it was read; pack again")]
    SizeChanged {
        /// The file.
        path: String,
    },
    /// No tar holds the path.
    #[error(
        "the path {path} does not fit into a tar: no part of more than 100 bytes after a slash, 155 before it"
    )]
    PathDoesNotFit {
        /// The path.
        path: String,
    },
    /// The archive could not be written.
    #[error("writing the archive failed: {0}")]
    Write(io::Error),
    /// The files are no bundle.
    #[error("{0}")]
    NotABundle(ArchiveError),
}

codes!(PackError {
    ReadFile => "ReadFileFailed",
    SizeChanged => "SizeChanged",
    PathDoesNotFit => "PathDoesNotFit",
    Write => "WriteFailed",
} inside { NotABundle });

/// Packs the files of `sizes` in the order of their paths. `open` is called for one after the other, so that a folder of
/// thousands needs one open file.
///
/// What is written is read along as [`unpack`](super::unpack()) reads it: what packs also unpacks.
///
/// # Errors
/// [`PackError`]; what was written to `out` is then no archive.
pub fn pack<R: Read>(
    sizes: &BTreeMap<BundlePath, u64>,
    mut open: impl FnMut(&BundlePath) -> io::Result<R>,
    limits: &Limits,
    out: impl Write,
) -> Result<Unpacked, PackError> {
    let total = total(sizes);
    if total > limits.unpacked {
        let limit = limits.unpacked;
        return Err(PackError::NotABundle(ArchiveError::UnpackedTooLarge { limit }));
    }
    let mut writer = Writer::new(total, limits, out)?;
    let mut buffer = vec![0; CHUNK];
    for (path, &size) in sizes {
        let header = Some(size)
            .filter(|size| *size <= header::MAX_SIZE)
            .and_then(|size| header::write(path.as_str(), size))
            .ok_or_else(|| PackError::PathDoesNotFit { path: path.to_string() })?;
        writer.write(&header)?;
        let unread = |error| PackError::ReadFile { path: path.to_string(), error };
        let mut file = open(path).map_err(unread)?;
        let mut left = size;
        loop {
            let count = match file.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unread(error)),
            };
            if count as u64 > left || (count == 0 && left > 0) {
                return Err(PackError::SizeChanged { path: path.to_string() });
            }
            if count == 0 {
                break;
            }
            left -= count as u64;
            writer.write(buffer.get(..count).unwrap_or_default())?;
        }
        writer.zeros(padding(size))?;
    }
    writer.zeros(2 * BLOCK)?;
    writer.finish()
}

/// Packs files that are in memory. Paths are given as they are to be in the archive.
///
/// # Errors
/// As [`pack`] gives them.
pub fn pack_files<'f>(
    files: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    limits: &Limits,
    out: impl Write,
) -> Result<Unpacked, PackError> {
    let unsafe_path = |path: &str, reason: PathError| {
        PackError::NotABundle(ArchiveError::UnsafePath { path: shown(path.as_bytes()), reason })
    };
    let mut contents = BTreeMap::new();
    for (path, bytes) in files {
        let path = BundlePath::parse(path.as_bytes()).map_err(|reason| unsafe_path(path, reason))?;
        contents.insert(path, bytes);
    }
    let sizes = contents.iter().map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect();
    pack(&sizes, |path| Ok(contents.get(path).copied().unwrap_or_default()), limits, out)
}

/// How many bytes the tar has.
fn total(sizes: &BTreeMap<BundlePath, u64>) -> u64 {
    let ends = 2 * BLOCK as u64;
    sizes.values().fold(ends, |total, size| {
        total.saturating_add(BLOCK as u64).saturating_add(*size).saturating_add(padding(*size) as u64)
    })
}

/// Compresses the tar.
struct Writer<W: Write> {
    encoder: Encoder<'static, Checked<W>>,
}

impl<W: Write> Writer<W> {
    fn new(size: u64, limits: &Limits, out: W) -> Result<Self, PackError> {
        let out = Checked { out, unpacker: Unpacker::new(*limits, Discard), refusal: None };
        let mut encoder = Encoder::new(out, LEVEL).map_err(PackError::Write)?;
        // With its size known from the start, the frame's parameters depend on nothing but that and the level.
        encoder.set_pledged_src_size(Some(size)).map_err(PackError::Write)?;
        encoder.set_parameter(CParameter::ContentSizeFlag(true)).map_err(PackError::Write)?;
        // The digests say more than zstd's checksum would, which costs time on every load.
        encoder.set_parameter(CParameter::ChecksumFlag(false)).map_err(PackError::Write)?;
        Ok(Self { encoder })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.encoder.write_all(bytes).map_err(|error| {
            self.encoder.get_mut().refusal.take().map_or(PackError::Write(error), PackError::NotABundle)
        })
    }

    fn zeros(&mut self, count: usize) -> Result<(), PackError> {
        self.write([0; 2 * BLOCK].get(..count).unwrap_or_default())
    }

    fn finish(self) -> Result<Unpacked, PackError> {
        let mut checked = match self.encoder.try_finish() {
            Ok(checked) => checked,
            Err((mut encoder, error)) => {
                let refusal = encoder.get_mut().refusal.take();
                return Err(refusal.map_or(PackError::Write(error), PackError::NotABundle));
            }
        };
        checked.out.flush().map_err(PackError::Write)?;
        checked.unpacker.finish().map_err(PackError::NotABundle)
    }
}

/// Reads the archive along as it is written, so that what was packed also unpacks, ratio and all.
struct Checked<W> {
    out: W,
    unpacker: Unpacker<Discard>,
    /// Why it does not; the compressor in between knows only of errors of I/O.
    refusal: Option<ArchiveError>,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(refusal) = self.unpacker.push(bytes) {
            self.refusal = Some(refusal);
            return Err(io::Error::other("refused"));
        }
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
