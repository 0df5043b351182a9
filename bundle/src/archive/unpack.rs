//! Reads an archive once, from the first byte to the last.

use std::io::{self, Read};
use std::mem;

use annex_core::ContentHash;
use sha2::{Digest as _, Sha256};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::error::ArchiveError;
use super::files::Files;
use super::frame;
use super::tar::Tar;
use crate::digest::ArchiveDigest;
use crate::limits::Limits;
use crate::listing::Listing;
use crate::manifest::Manifest;
use crate::sink::Sink;

/// Compressed bytes that are read at once.
const INPUT: usize = 256 << 10;
/// Decompressed bytes that are hashed and stored at once: what zstd makes of a block, while the processor's cache still has it.
const OUTPUT: usize = 128 << 10;

/// What was found in an archive that keeps to the format. It says nothing of who made it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Unpacked {
    /// The manifest.
    pub manifest: Manifest,
    /// The hash over the files.
    pub content_hash: ContentHash,
    /// The files.
    pub listing: Listing,
    /// The digest of the archive's bytes.
    pub archive: ArchiveDigest,
    /// How many bytes the archive has.
    pub size: u64,
}

/// Reads an archive to its end and hands its files to `sink`, which is to forget them unless this returns `Ok`.
///
/// Memory does not depend on the archive: less than 20 MiB besides what the sink keeps.
///
/// # Errors
/// [`ArchiveError`] on the first thing that no bundle has, or that goes beyond `limits`.
pub fn unpack(mut archive: impl Read, limits: &Limits, sink: impl Sink) -> Result<Unpacked, ArchiveError> {
    let mut unpacker = Unpacker::new(*limits, sink);
    let mut input = vec![0; INPUT];
    loop {
        match archive.read(&mut input) {
            Ok(0) => return unpacker.finish(),
            Ok(count) => unpacker.push(input.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArchiveError::Read(error)),
        }
    }
}

/// An archive that is being read.
pub(super) struct Unpacker<S> {
    limits: Limits,
    /// The first bytes, until there are enough for the frame's header.
    head: Vec<u8>,
    decoder: Option<Decoder<'static>>,
    output: Vec<u8>,
    tar: Tar<S>,
    hash: Sha256,
    size: u64,
    consumed: u64,
    unpacked: u64,
    ended: bool,
}

impl<S: Sink> Unpacker<S> {
    pub(super) fn new(limits: Limits, sink: S) -> Self {
        Self {
            limits,
            head: Vec::with_capacity(frame::MAX_HEADER),
            decoder: None,
            output: vec![0; OUTPUT],
            tar: Tar::new(Files::new(limits, sink)),
            hash: Sha256::new(),
            size: 0,
            consumed: 0,
            unpacked: 0,
            ended: false,
        }
    }

    /// The next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.size += bytes.len() as u64;
        if self.size > self.limits.archive {
            return Err(ArchiveError::TooLarge { limit: self.limits.archive });
        }
        self.hash.update(bytes);
        if self.decoder.is_some() {
            return self.decompress(bytes);
        }
        let (head, rest) = bytes.split_at((frame::MAX_HEADER - self.head.len()).min(bytes.len()));
        self.head.extend_from_slice(head);
        if self.head.len() < frame::MAX_HEADER {
            return Ok(());
        }
        self.begin()?;
        self.decompress(rest)
    }

    /// No more bytes will come.
    pub(super) fn finish(mut self) -> Result<Unpacked, ArchiveError> {
        if self.decoder.is_none() {
            self.begin()?;
        }
        if !self.ended {
            return Err(ArchiveError::Truncated);
        }
        let (manifest, listing) = self.tar.finish()?.finish()?;
        let archive = ArchiveDigest::from_sha256(self.hash.finalize().into());
        Ok(Unpacked { manifest, content_hash: listing.content_hash(), listing, archive, size: self.size })
    }

    fn begin(&mut self) -> Result<(), ArchiveError> {
        let head = mem::take(&mut self.head);
        if frame::check(&head)?.is_some_and(|size| size > self.limits.unpacked) {
            return Err(ArchiveError::UnpackedTooLarge { limit: self.limits.unpacked });
        }
        let mut decoder = Decoder::new().map_err(corrupt)?;
        decoder.set_parameter(DParameter::WindowLogMax(frame::MAX_WINDOW_LOG)).map_err(corrupt)?;
        self.decoder = Some(decoder);
        self.decompress(&head)
    }

    fn decompress(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        if self.ended && !bytes.is_empty() {
            return Err(ArchiveError::TrailingData { of: "zstd frame" });
        }
        let mut from = InBuffer::around(bytes);
        loop {
            let before = from.pos();
            let mut to = OutBuffer::around(self.output.as_mut_slice());
            let hint = decoder.run(&mut from, &mut to).map_err(corrupt)?;
            self.ended = hint == 0;
            self.consumed += (from.pos() - before) as u64;
            let piece = to.as_slice();
            self.unpacked += piece.len() as u64;
            if self.unpacked > self.limits.unpacked {
                return Err(ArchiveError::UnpackedTooLarge { limit: self.limits.unpacked });
            }
            // Against what was read so far: a bomb is refused before it has gone off.
            if self.unpacked > Limits::RATIO_FLOOR && self.unpacked / self.limits.ratio > self.consumed {
                return Err(ArchiveError::RatioTooHigh { limit: self.limits.ratio });
            }
            self.tar.push(piece)?;
            let used_up = from.pos() == bytes.len();
            if self.ended && !used_up {
                return Err(ArchiveError::TrailingData { of: "zstd frame" });
            }
            // A full buffer means that there may be more without any further input.
            if self.ended || (used_up && piece.len() < OUTPUT) {
                return Ok(());
            }
        }
    }
}

fn corrupt(error: io::Error) -> ArchiveError {
    ArchiveError::CorruptFrame { reason: error.to_string() }
}
