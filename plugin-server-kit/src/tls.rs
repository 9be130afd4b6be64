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

/// The DNS name in the client certificate of the controller. Plugins have certificates of the same CA, so the CA alone
/// does not identify the controller.
pub const CONTROLLER_NAME: &str = "dask-operator.plugin.kubernetes.dask.org";

/// The interval at which the files are compared with those in use. The kubelet takes up to a minute to update them.
const POLL: Duration = Duration::from_secs(10);
/// The interval at which a plugin without a certificate looks for one.
const FIRST_POLL: Duration = Duration::from_secs(1);

/// The error for a directory that has no usable certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is missing or unreadable.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The content of a file is invalid.
    #[error("{file} is not usable: {cause}")]
    Invalid {
        /// `ca.crt`, `tls.crt` or `tls.key`.
        file: &'static str,
        /// The cause.
        cause: String,
    },
}

/// A TLS configuration that is reloaded from the files `ca.crt`, `tls.crt` and `tls.key` in a directory.
///
/// ```no_run
/// use dask_plugin_server::serve::{Listener, serve};
/// use dask_plugin_server::{router, tls::Tls};
/// # use dask_plugin_server::{Answer, Plugin, PluginError, protocol::{Discovery, PluginRequest}};
/// # struct MyPlugin;
/// # impl Plugin for MyPlugin {
/// #     fn discovery(&self) -> Discovery { Discovery::new("mine", "1.0.0") }
/// #     async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> { Ok(Answer::none()) }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::load("/etc/plugin-tls").await?;
/// let listener = Listener::tls(std::net::TcpListener::bind("[::]:8443")?, tls)?;
/// serve(listener, router(MyPlugin), std::future::pending()).await;
/// # Ok(()) }
/// ```
///
/// # Guarantees
/// * A client must hold a certificate for client authentication, signed by `ca.crt`, with the DNS name
///   [`CONTROLLER_NAME`].
/// * New files apply to new connections within 10 seconds. Established connections continue.
/// * Files that are not usable are logged once, and the configuration stays as it was.
#[derive(Debug, Clone)]
pub struct Tls {
    configs: watch::Receiver<Arc<ServerConfig>>,
}

impl Tls {
    /// Loads the files in `dir`, and reloads them as long as this value or a clone of it exists.
    pub async fn load(dir: impl Into<PathBuf>) -> Result<Self, TlsError> {
        Self::load_and_poll(dir, POLL).await
    }

    /// Like [`Tls::load`], but waits until the files exist and are usable.
    pub async fn wait_for_files(dir: impl Into<PathBuf>) -> Self {
        let mut source = Source::new(dir.into());
        let mut errors = ErrorLog::default();
        let config = loop {
            match source.changed().await {
                Ok(Some(config)) => break config,
                Ok(None) => {}
                Err(error) => errors.waiting(&source.dir, &error),
            }
            tokio::time::sleep(FIRST_POLL).await;
        };
        tracing::info!(dir = %source.dir.display(), "loaded the certificate");
        Self::follow(source, config, POLL)
    }

    /// Like [`Tls::load`], but checks the files at this interval, for certificates that are valid for seconds.
    pub async fn load_and_poll(dir: impl Into<PathBuf>, every: Duration) -> Result<Self, TlsError> {
        let mut source = Source::new(dir.into());
        let files = TlsFiles::read(&source.dir).await?;
        let config = files.server_config()?;
        source.last = Some(files);
        Ok(Self::follow(source, Arc::new(config), every))
    }

    fn follow(mut source: Source, first: Arc<ServerConfig>, every: Duration) -> Self {
        let (sender, configs) = watch::channel(first);
        let follow = async move {
            let mut errors = ErrorLog::default();
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    () = tokio::time::sleep(every) => {}
                }
                match source.changed().await {
                    Ok(Some(config)) => {
                        tracing::info!(dir = %source.dir.display(), "loaded a new certificate");
                        sender.send_replace(config);
                        errors = ErrorLog::default();
                    }
                    Ok(None) => {}
                    Err(error) => errors.keeping(&source.dir, &error),
                }
            }
        };
        tokio::spawn(follow.in_current_span());
        Self { configs }
    }

    /// Returns the configuration for a new connection.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.configs.borrow().clone()
    }
}

/// A directory and the files that were last read from it.
struct Source {
    dir: PathBuf,
    last: Option<TlsFiles>,
}

impl Source {
    fn new(dir: PathBuf) -> Self {
        Self { dir, last: None }
    }

    /// Returns the configuration if the files have changed since the last call.
    async fn changed(&mut self) -> Result<Option<Arc<ServerConfig>>, TlsError> {
        let files = TlsFiles::read(&self.dir).await?;
        if self.last.as_ref() == Some(&files) {
            return Ok(None);
        }
        let config = files.server_config();
        // Also if they are unusable, so that the error is logged once and not at each poll.
        self.last = Some(files);
        config.map(|config| Some(Arc::new(config)))
    }
}

/// Logs an error only when it differs from the last one.
#[derive(Default)]
struct ErrorLog {
    last: Option<String>,
}

impl ErrorLog {
    fn waiting(&mut self, dir: &Path, error: &TlsError) {
        if self.is_new(error) {
            tracing::warn!(dir = %dir.display(), %error, "waiting for a certificate");
        }
    }

    fn keeping(&mut self, dir: &Path, error: &TlsError) {
        if self.is_new(error) {
            tracing::warn!(dir = %dir.display(), %error, "keeping the current certificate");
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
