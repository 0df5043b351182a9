//! Files that commands read and write.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::outcome::Failure;

/// Where the signature of an archive is: beside it.
pub(crate) fn signature_of(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

/// Reads a file. Of one that is larger than `limit` just enough is read to show that it is.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    read_if_there(path, limit)?
        .ok_or_else(|| Failure::file("reading", path, &io::Error::from(io::ErrorKind::NotFound)))
}

/// The same, `None` where there is no such file.
pub(crate) fn read_if_there(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::file("reading", path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file("reading", path, &error))?;
    Ok(Some(bytes))
}

/// Opens an archive.
pub(crate) fn open(path: &Path) -> Result<File, Failure> {
    let file = File::open(path).map_err(|error| Failure::file("opening", path, &error))?;
    // Opening a folder works, reading it fails with words that do not say so.
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            Err(Failure::Usage(format!("{} is a folder, not a file", path.display())))
        }
        _ => Ok(file),
    }
}

/// Writes a file as a whole: until all of it is there, what was there before stays.
pub(crate) fn write<T>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let failed = |error: &io::Error| Failure::file("writing", path, error);
    if path.is_dir() {
        return Err(Failure::Usage(format!("{} is a folder; name the file to write", path.display())));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = new_file(folder.unwrap_or(Path::new("."))).map_err(|error| failed(&error))?;
    let mut writer = BufWriter::new(file.as_file_mut());
    let filled = fill(&mut writer)?;
    writer.flush().map_err(|error| failed(&error))?;
    drop(writer);
    file.persist(path).map_err(|error| failed(&error.error))?;
    Ok(filled)
}

/// A file under a name that nobody else has, with the permissions that any new file gets.
fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".annex-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Less the umask, as with open. The default is for secrets.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Writes a file that must not be there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8], secret: bool) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secret {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = secret;
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Refused(exists(path)),
        _ => Failure::file("writing", path, &error),
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file is none, and would keep the next attempt from writing it.
        let _ = fs::remove_file(path);
        Failure::file("writing", path, &error)
    })
}

/// What is said of a file that would be overwritten.
pub(crate) fn exists(path: &Path) -> String {
    format!(
        "{} is there already, and is never overwritten; give another name, or move it away",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write(&path, |out| out.write_all(b"one").map_err(|error| Failure::file("", &path, &error))).unwrap();
        let refused = || Failure::Refused("no".to_owned());
        assert_eq!(write(&path, |_| Err::<(), _>(refused())), Err(refused()));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_large_file_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, [0; 100]).unwrap();
        assert_eq!(read(&path, 10).unwrap().len(), 11);
        assert_eq!(read_if_there(&folder.path().join("none"), 10), Ok(None));
    }

    #[test]
    fn the_signature_is_beside_the_archive() {
        assert_eq!(signature_of(Path::new("a/b.tar.zst")), Path::new("a/b.tar.zst.sig"));
    }
}
