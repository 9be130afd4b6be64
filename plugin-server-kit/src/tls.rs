//! Mutual TLS with the files of the Secret that the controller writes for a plugin.

mod files;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;
use tracing::Instrument as _;

use files::TlsFiles;

/// The DNS name in the controller's client certificate. Plugins hold certificates of the same CA, so
/// the CA alone does not tell who calls.
pub const CONTROLLER_NAME: &str = "dask-operator.plugin.kubernetes.dask.org";

/// How often the files are compared with those in use. The kubelet needs up to a minute anyway.
const POLL: Duration = Duration::from_secs(10);
/// How often a plugin that has no certificate yet looks for one.
const FIRST_POLL: Duration = Duration::from_secs(1);

/// Why a directory gives no TLS configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is absent or unreadable.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it could not be read.
        source: std::io::Error,
    },
    /// A file has the wrong content.
    #[error("{file} is not usable: {cause}")]
    Invalid {
        /// `ca.crt`, `tls.crt` or `tls.key`.
        file: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

/// A TLS configuration that follows the files in a directory: `ca.crt`, `tls.crt` and `tls.key`.
///
/// # Guarantees
/// * A client must hold a certificate for client authentication, signed by `ca.crt`, with the DNS name
///   [`CONTROLLER_NAME`].
/// * New files apply to new connections within 10 seconds; established connections go on.
/// * Files that cannot be used are reported once in the log, and the configuration stays as it was.
#[derive(Debug, Clone)]
pub struct Tls {
    configs: watch::Receiver<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files in `dir` and follows them from then on, as long as the value or a clone lives.
    pub async fn load(dir: impl Into<PathBuf>) -> Result<Self, TlsError> {
        Self::load_and_poll(dir, POLL).await
    }

    /// As [`Tls::load`], but waits until there are usable files.
    pub async fn wait_for_files(dir: impl Into<PathBuf>) -> Self {
        let mut source = Source::new(dir.into());
        let mut complaints = Complaints::default();
        let config = loop {
            match source.changed().await {
                Ok(Some(config)) => break config,
                Ok(None) => {}
                Err(error) => complaints.waiting(&source.dir, &error),
            }
            tokio::time::sleep(FIRST_POLL).await;
        };
        tracing::info!(dir = %source.dir.display(), "loaded the certificate");
        Self::follow(source, config, POLL)
    }

    /// As [`Tls::load`], but looks at the files so often: for certificates that live for seconds.
    pub async fn load_and_poll(dir: impl Into<PathBuf>, every: Duration) -> Result<Self, TlsError> {
        let mut source = Source::new(dir.into());
        let files = TlsFiles::read(&source.dir).await?;
        let config = files.server_config()?;
        source.seen = Some(files);
        Ok(Self::follow(source, Arc::new(config), every))
    }

    fn follow(mut source: Source, first: Arc<ServerConfig>, every: Duration) -> Self {
        let (sender, configs) = watch::channel(first);
        let follow = async move {
            let mut complaints = Complaints::default();
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    () = tokio::time::sleep(every) => {}
                }
                match source.changed().await {
                    Ok(Some(config)) => {
                        tracing::info!(dir = %source.dir.display(), "loaded a new certificate");
                        sender.send_replace(config);
                        complaints = Complaints::default();
                    }
                    Ok(None) => {}
                    Err(error) => complaints.keeping(&source.dir, &error),
                }
            }
        };
        tokio::spawn(follow.in_current_span());
        Self { configs }
    }

    /// The configuration for a connection that begins now.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.configs.borrow().clone()
    }
}

/// A directory and what was last found in it.
struct Source {
    dir: PathBuf,
    seen: Option<TlsFiles>,
}

impl Source {
    fn new(dir: PathBuf) -> Self {
        Self { dir, seen: None }
    }

    /// The configuration, if the files are not those of the last call.
    async fn changed(&mut self) -> Result<Option<Arc<ServerConfig>>, TlsError> {
        let files = TlsFiles::read(&self.dir).await?;
        if self.seen.as_ref() == Some(&files) {
            return Ok(None);
        }
        let config = files.server_config();
        // Also if they are unusable: that is said once, not at each poll.
        self.seen = Some(files);
        config.map(|config| Some(Arc::new(config)))
    }
}

/// Logs an error when it first appears, not each time it is met.
#[derive(Default)]
struct Complaints {
    last: Option<String>,
}

impl Complaints {
    fn waiting(&mut self, dir: &Path, error: &TlsError) {
        if self.is_new(error) {
            tracing::warn!(dir = %dir.display(), %error, "waiting for a certificate");
        }
    }

    fn keeping(&mut self, dir: &Path, error: &TlsError) {
        if self.is_new(error) {
            tracing::warn!(dir = %dir.display(), %error, "keeping the certificate that is in use");
        }
    }

    fn is_new(&mut self, error: &TlsError) -> bool {
        let text = error.to_string();
        let is_new = self.last.as_ref() != Some(&text);
        self.last = Some(text);
        is_new
    }
}

#[cfg(test)]
mod tests;
