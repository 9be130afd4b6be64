//! Unix sockets for plugins that run as sidecars of the controller.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The controller accesses the socket through a common group. No other container in the pod should.
const MODE: u32 = 0o660;

/// The error for a Unix socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The path exists and is not a socket.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// Another process serves this socket.
    #[error("{} is served by another process", .0.display())]
    InUse(PathBuf),
    /// A file operation failed.
    #[error("failed to {action} {}: {source}", path.display())]
    Io {
        /// The operation.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Binds a socket to `path`, and replaces a stale one.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |action| move |source| SocketError::Io { action, path: path.to_owned(), source };
    remove_stale(path, failed)?;
    let listener = UnixListener::bind(path).map_err(failed("bind"))?;
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed("set the mode of"))?;
    Ok(listener)
}

/// Removes a socket that no process serves.
fn remove_stale<F, E>(path: &Path, failed: F) -> Result<(), SocketError>
where
    F: Fn(&'static str) -> E,
    E: FnOnce(io::Error) -> SocketError,
{
    // The metadata of the path itself: a symlink may lead to the socket of another process.
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed("inspect"))?,
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the stale socket"))
        }
        Err(error) => Err(failed("connect to")(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn stale_socket(path: &Path) {
        // std does not unlink on drop, just as a killed process does not.
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        assert!(path.exists());
    }

    #[tokio::test]
    async fn the_socket_is_for_owner_and_group_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let _listener = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        stale_socket(&path);
        let _listener = bind(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_another_process_serves_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let _listener = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::InUse(_)), "{error}");
        assert!(UnixStream::connect(&path).is_ok());
    }

    /// A path from the environment must never delete another file or change its mode.
    #[tokio::test]
    async fn a_path_that_is_not_a_socket_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "precious").unwrap();
        let elsewhere = dir.path().join("elsewhere.sock");
        stale_socket(&elsewhere);
        let link = dir.path().join("link");
        symlink(&elsewhere, &link).unwrap();

        for path in [&file, &link, &dir.path().to_owned()] {
            let error = bind(path).unwrap_err();
            assert!(matches!(error, SocketError::NotASocket(_)), "{error}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert!(elsewhere.exists() && link.is_symlink());
    }

    #[tokio::test]
    async fn a_directory_that_does_not_exist_is_named() {
        let error = bind(Path::new("/nonexistent/a.sock")).unwrap_err();
        assert!(error.to_string().starts_with("failed to bind /nonexistent/a.sock: "), "{error}");
    }
}
