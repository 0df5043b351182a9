//! Where an upload is until it is judged.

use std::{fmt, fs::File, io, path::PathBuf, sync::Arc};

type Open = dyn Fn() -> io::Result<File> + Send + Sync;

/// Makes files that have no name: whenever the process ends, however it does, they are gone. Cheap to clone.
#[derive(Clone)]
pub struct Scratch(Arc<Open>);

impl Scratch {
    /// In a folder.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self::with(move || tempfile::tempfile_in(&folder))
    }

    /// By a function.
    pub fn with(open: impl Fn() -> io::Result<File> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    pub(crate) async fn file(&self) -> io::Result<tokio::fs::File> {
        let open = self.0.clone();
        let opened = tokio::task::spawn_blocking(move || open()).await.map_err(io::Error::other)?;
        opened.map(tokio::fs::File::from_std)
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Scratch")
    }
}
