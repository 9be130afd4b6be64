//! Files of Secrets and ConfigMaps, which change while they are mounted.

use std::io;
use std::path::{Path, PathBuf};

/// The error for a file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The content of the file is not what it should be.
    #[error("{} {problem}", path.display())]
    Invalid { path: PathBuf, problem: String },
}

impl FileError {
    pub(crate) fn invalid(path: &Path, problem: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), problem: problem.into() }
    }
}

/// Reads a file.
pub(crate) async fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    tokio::fs::read(path).await.map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Reads a file with one line of text, without the spaces and line breaks around it.
pub(crate) async fn read_line(path: &Path) -> Result<String, FileError> {
    let text = String::from_utf8(read(path).await?).map_err(|_| FileError::invalid(path, "is not text"))?;
    match text.trim() {
        "" => Err(FileError::invalid(path, "is empty")),
        line => Ok(line.to_owned()),
    }
}

/// Returns the directory that contains the files of a mounted Secret now.
///
/// The kubelet replaces all files at once by changing the symlink `..data`. It is resolved once, so that a change between
/// two reads does not combine an old certificate with a new key.
pub(crate) async fn current(dir: &Path) -> PathBuf {
    tokio::fs::canonicalize(dir.join("..data")).await.unwrap_or_else(|_| dir.to_owned())
}
