//! Compiled code that nobody can change any more, where wasmtime can map it.
//!
//! On Linux it is a file without a name, sealed: neither the code nor what memories begin with is copied then, which for a component that is
//! called for the first time takes as long as all else. Elsewhere it is in this process's memory.

use std::io::{self, Read, Write as _};

use wasmtime::component::Component;

/// What is read at a time: small enough to be looked at and written while it is in the processor's cache.
const PIECE: usize = 64 << 10;

/// A copy that can be loaded, and nothing else.
#[derive(Debug)]
pub(crate) struct Sealed(place::Place);

impl Sealed {
    /// Copies what `from` has left, and shows each piece of it.
    pub(crate) fn copy(mut from: impl Read, mut show: impl FnMut(&[u8])) -> io::Result<Self> {
        let mut place = place::new()?;
        let mut piece = vec![0; PIECE];
        loop {
            let count = from.read(&mut piece)?;
            let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else { break };
            show(read);
            place.write_all(read)?;
        }
        place::seal(&place)?;
        Ok(Self(place))
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        place::bytes(&self.0)
    }

    /// Loads it as code.
    ///
    /// # Safety
    /// It is what wasmtime's compiler made.
    #[expect(unsafe_code, reason = "wasmtime cannot check machine code")]
    pub(crate) unsafe fn load(&self, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        // SAFETY: the caller vouches for what it is, and the seals for that it stays so.
        unsafe { place::load(&self.0, engine) }
    }
}

#[cfg(target_os = "linux")]
mod place {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd as _;

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use wasmtime::component::Component;

    pub(super) type Place = File;

    pub(super) fn new() -> io::Result<File> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(memfd_create("annex-code", flags)?.into())
    }

    pub(super) fn seal(file: &File) -> io::Result<()> {
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        Ok(fcntl_add_seals(file, seals)?)
    }

    /// Where it can be opened once more.
    pub(super) fn path(file: &File) -> String {
        format!("/proc/self/fd/{}", file.as_raw_fd())
    }

    #[cfg(test)]
    pub(super) fn bytes(file: &File) -> Vec<u8> {
        std::fs::read(path(file)).unwrap()
    }

    #[expect(unsafe_code, reason = "as above")]
    pub(super) unsafe fn load(file: &File, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        // SAFETY: as above.
        unsafe { Component::deserialize_file(engine, path(file)) }
    }
}

#[cfg(not(target_os = "linux"))]
mod place {
    use std::io;

    use wasmtime::component::Component;

    pub(super) type Place = Vec<u8>;

    pub(super) fn new() -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    pub(super) fn seal(_: &[u8]) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn bytes(bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    #[expect(unsafe_code, reason = "as above")]
    pub(super) unsafe fn load(bytes: &[u8], engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        // SAFETY: as above.
        unsafe { Component::deserialize(engine, bytes) }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;

    use rustix::fs::{SealFlags, fcntl_add_seals};

    use super::*;

    #[test]
    fn nobody_can_change_it() {
        let wanted = vec![7; PIECE + 1];
        let mut shown = Vec::new();
        let sealed = Sealed::copy(wanted.as_slice(), |piece| shown.extend_from_slice(piece)).unwrap();
        assert!(shown == wanted && sealed.bytes() == wanted);
        let file = &sealed.0;
        let other_way = File::options().write(true).open(place::path(file)).unwrap();
        for refused in [
            (&*file).write_all(b"more"),
            (&other_way).write_all(b"more"),
            file.set_len(1),
            file.set_len(1 << 20),
            fcntl_add_seals(file, SealFlags::empty()).map_err(Into::into),
        ] {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        assert!(sealed.bytes() == wanted);
    }
}
