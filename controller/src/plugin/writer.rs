//! Who writes and watches the children of a plugin.

use kube::Client;

/// An identity towards the API server.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) client: Client,
    /// `namespace/name` of the ServiceAccount that is impersonated; the controller itself if there is none.
    pub(super) account: Option<String>,
    /// The only namespace in which it acts, unless it is all that are watched.
    pub(super) namespace: Option<String>,
}

/// What tells writers apart.
pub(super) type WriterKey = (Option<String>, Option<String>);

impl Writer {
    /// Plugins whose writers have the same key share watches.
    pub(super) fn key(&self) -> WriterKey {
        (self.account.clone(), self.namespace.clone())
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("account", &self.account).finish_non_exhaustive()
    }
}

/// A writer that no API server listens to.
#[cfg(test)]
pub(super) fn test_writer() -> Writer {
    // A client spawns a task, which need not ever run.
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    let _guard = RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().unwrap()).enter();
    let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    Writer { client, account: None, namespace: None }
}
