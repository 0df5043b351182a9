use crate::code::codes;
use crate::document::DocumentError;
use crate::path::PathError;

/// Why an archive is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes could not be had.
    #[error("reading the archive failed: {0}")]
    Read(std::io::Error),
    /// The sink did not take a file.
    #[error("storing {path} failed: {error}")]
    Store {
        /// The file.
        path: String,
        /// What the sink says.
        error: std::io::Error,
    },
    /// Not the beginning of a zstd frame.
    #[error("the archive is not compressed with zstd")]
    NotZstd,
    /// A frame that decompresses to nothing, in which anything could hide.
    #[error("the archive begins with a skippable frame")]
    SkippableFrame,
    /// A frame that needs a dictionary, too much memory, or a later zstd.
    #[error("the zstd frame {reason}")]
    UnsupportedFrame {
        /// What it needs.
        reason: &'static str,
    },
    /// zstd cannot read on.
    #[error("the zstd frame is damaged: {reason}")]
    CorruptFrame {
        /// What zstd says.
        reason: String,
    },
    /// More compressed bytes than allowed.
    #[error("the archive has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// More bytes after decompression than allowed.
    #[error("the archive unpacks to more than {limit} bytes")]
    UnpackedTooLarge {
        /// The limit.
        limit: u64,
    },
    /// Too much out of too little.
    #[error("the archive unpacks to more than {limit} times its size")]
    RatioTooHigh {
        /// The limit.
        limit: u64,
    },
    /// Too many entries.
    #[error("the archive has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// One file too large.
    #[error("{path} has {size} bytes, more than {limit}")]
    FileTooLarge {
        /// The file.
        path: String,
        /// How many bytes it would have.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A path too long.
    #[error("the path {path} has {length} bytes, more than {limit}")]
    PathTooLong {
        /// The path.
        path: String,
        /// How many it has.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A path with too many segments.
    #[error("the path {path} has more than {limit} segments")]
    PathTooDeep {
        /// The path.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// A path that could lead elsewhere or mean another file.
    #[error("the path {path} {reason}")]
    UnsafePath {
        /// The path.
        path: String,
        /// Why.
        reason: PathError,
    },
    /// An entry that is no regular file.
    #[error("{path} is {kind}, and a bundle has regular files only")]
    NotAFile {
        /// The entry.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// An extension of tar that changes what another entry is called or how large it is.
    #[error("the archive has {kind}; pack it with --format=ustar")]
    TarExtension {
        /// Which.
        kind: &'static str,
    },
    /// A header that is none.
    #[error("entry {entry} of the tar {reason}")]
    BadHeader {
        /// Which, counted from 1.
        entry: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The same path twice.
    #[error("{path} is there twice")]
    DuplicatePath {
        /// The path.
        path: String,
    },
    /// Two paths that some file system takes for one, or a file where another's folder must be.
    #[error("{path} and {other} are one file to some file systems")]
    CollidingPath {
        /// The second.
        path: String,
        /// The first.
        other: String,
    },
    /// A path that no bundle has.
    #[error("{path} does not belong into a bundle, which has manifest.json, main.wasm, sbom.json and ui/")]
    UnknownFile {
        /// The path.
        path: String,
    },
    /// The end comes too early.
    #[error("the archive is cut off")]
    Truncated,
    /// Something after the end.
    #[error("there is more after the end of the {of}")]
    TrailingData {
        /// Of what.
        of: &'static str,
    },
    /// A file that every bundle has.
    #[error("{path} is missing")]
    MissingFile {
        /// The file.
        path: &'static str,
    },
    /// main.wasm is none.
    #[error(
        "main.wasm is {found}, not a component; build it for wasm32-wasip2 or run it through wasm-tools component new"
    )]
    NotAComponent {
        /// What it is.
        found: &'static str,
    },
    /// ui.entry is no file of the bundle.
    #[error("/ui/entry of the manifest is {entry}, which is not in the bundle")]
    EntryMissing {
        /// What the manifest says.
        entry: String,
    },
    /// Files that nothing announces.
    #[error("there are files in ui/, but the manifest has no /ui/entry")]
    UndeclaredUi,
    /// The manifest is none.
    #[error("manifest.json: {0}")]
    Manifest(DocumentError),
}

codes!(ArchiveError {
    Read => "ReadFailed",
    Store => "StoreFailed",
    NotZstd => "NotZstd",
    SkippableFrame => "SkippableFrame",
    UnsupportedFrame => "UnsupportedFrame",
    CorruptFrame => "CorruptFrame",
    TooLarge => "TooLarge",
    UnpackedTooLarge => "UnpackedTooLarge",
    RatioTooHigh => "RatioTooHigh",
    TooManyEntries => "TooManyEntries",
    FileTooLarge => "FileTooLarge",
    PathTooLong => "PathTooLong",
    PathTooDeep => "PathTooDeep",
    UnsafePath => "UnsafePath",
    NotAFile => "NotAFile",
    TarExtension => "TarExtension",
    BadHeader => "BadHeader",
    DuplicatePath => "DuplicatePath",
    CollidingPath => "CollidingPath",
    UnknownFile => "UnknownFile",
    Truncated => "Truncated",
    TrailingData => "TrailingData",
    MissingFile => "MissingFile",
    NotAComponent => "NotAComponent",
    EntryMissing => "EntryMissing",
    UndeclaredUi => "UndeclaredUi",
} inside { Manifest });
