//! How much a bundle may be.

/// Caps that hold while a bundle is read: whatever goes beyond one ends the reading there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive.
    pub archive: u64,
    /// Bytes that it unpacks to, headers and padding of its entries included.
    pub unpacked: u64,
    /// How many times its own size it may unpack to, once that is more than [`Self::RATIO_FLOOR`].
    pub ratio: u64,
    /// Entries.
    pub entries: usize,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of one path.
    pub path: usize,
    /// Segments of one path.
    pub depth: usize,
}

impl Limits {
    /// What a bundle may unpack to whatever its ratio, so that a run of zeros in a small component does no harm.
    pub const RATIO_FLOOR: u64 = 4 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive: 200 << 20,
            unpacked: 512 << 20,
            ratio: 100,
            entries: 10_000,
            file: 256 << 20,
            path: 255,
            depth: 16,
        }
    }
}
