//! Reads a tar that is handed over in pieces of any size.

use super::error::ArchiveError;
use super::files::Files;
use super::header::{self, BLOCK};
use crate::sink::Sink;

/// What may follow the two blocks of zeros that end a tar: tar programs fill up to a record of 20 blocks.
const MAX_PADDING: u64 = 20 * BLOCK as u64;

/// A tar that is being read. Files go to the sink as they come; nothing is kept of them.
pub(super) struct Tar<S> {
    files: Files<S>,
    state: State,
    block: [u8; BLOCK],
    filled: usize,
    entries: usize,
}

enum State {
    /// A header is being gathered in `block`.
    Header,
    /// `left` bytes of a file, then `padding` zeros.
    Data { left: u64, padding: usize },
    /// This many bytes up to the next block.
    Padding(usize),
    /// This many zeros since the last file's end.
    End(u64),
}

impl<S: Sink> Tar<S> {
    pub(super) fn new(files: Files<S>) -> Self {
        Self { files, state: State::Header, block: [0; BLOCK], filled: 0, entries: 0 }
    }

    /// The next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), ArchiveError> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Header => self.gather(bytes)?,
                State::Data { left, padding } => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (data, rest) = bytes.split_at(take);
                    self.files.write(data)?;
                    let left = left - take as u64;
                    self.state =
                        if left == 0 { self.end_file(padding)? } else { State::Data { left, padding } };
                    rest
                }
                State::Padding(left) => {
                    let (padding, rest) = bytes.split_at(left.min(bytes.len()));
                    if padding.iter().any(|byte| *byte != 0) {
                        return Err(self.bad("is followed by something else than zeros up to the next block"));
                    }
                    self.state = match left - padding.len() {
                        0 => State::Header,
                        left => State::Padding(left),
                    };
                    rest
                }
                State::End(zeros) => {
                    let zeros = zeros + bytes.len() as u64;
                    if bytes.iter().any(|byte| *byte != 0) || zeros > 2 * BLOCK as u64 + MAX_PADDING {
                        // One block of zeros alone ends nothing.
                        return Err(ArchiveError::TrailingData { of: "tar" });
                    }
                    self.state = State::End(zeros);
                    &[]
                }
            };
        }
        Ok(())
    }

    /// No more bytes will come.
    pub(super) fn finish(self) -> Result<Files<S>, ArchiveError> {
        match self.state {
            State::End(zeros) if zeros >= 2 * BLOCK as u64 && zeros % BLOCK as u64 == 0 => Ok(self.files),
            _ => Err(ArchiveError::Truncated),
        }
    }

    fn gather<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], ArchiveError> {
        let (part, rest) = bytes.split_at((BLOCK - self.filled).min(bytes.len()));
        for (to, from) in self.block.iter_mut().skip(self.filled).zip(part) {
            *to = *from;
        }
        self.filled += part.len();
        if self.filled == BLOCK {
            self.filled = 0;
            self.state = self.begin_entry()?;
        }
        Ok(rest)
    }

    fn begin_entry(&mut self) -> Result<State, ArchiveError> {
        if self.block.iter().all(|byte| *byte == 0) {
            return Ok(State::End(BLOCK as u64));
        }
        self.entries += 1;
        let header = header::read(&self.block, self.entries)?;
        self.files.begin(&header.path, header.size)?;
        let padding = padding(header.size);
        if header.size == 0 { self.end_file(padding) } else { Ok(State::Data { left: header.size, padding }) }
    }

    fn end_file(&mut self, padding: usize) -> Result<State, ArchiveError> {
        self.files.end()?;
        Ok(if padding == 0 { State::Header } else { State::Padding(padding) })
    }

    fn bad(&self, reason: &'static str) -> ArchiveError {
        ArchiveError::BadHeader { entry: self.entries, reason }
    }
}

/// How many zeros follow a file of this size.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    (BLOCK - over) % BLOCK
}
