//! Who writes and watches the children of a plugin.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kube::{Client, Config, client::ClientBuilder};

use crate::metrics::CountRequests;

use crate::scope::Scope;

/// An identity towards the API server.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) client: Client,
    /// The ServiceAccount that is impersonated; the controller itself if there is none.
    pub(super) account: Option<Account>,
    /// The only namespace in which it acts, unless it is all that are watched.
    pub(super) namespace: Option<String>,
}

/// What tells writers apart.
pub(super) type WriterKey = (Option<Account>, Option<String>);

/// A ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Account {
    /// Its name as a user. The API server adds the groups of service accounts by itself.
    fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl Writer {
    /// Where it acts, if `watched` is what the controller watches.
    pub(super) fn scope(&self, watched: &Scope) -> Scope {
        self.namespace.as_ref().map_or_else(|| watched.clone(), |namespace| Scope::of([namespace]))
    }

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

/// The clients of all writers: one for each ServiceAccount, made when it is first needed.
pub(super) struct Writers {
    own: Client,
    /// That of the controller's own client, with its time-outs.
    config: Config,
    count: CountRequests,
    clients: Mutex<HashMap<Account, Client>>,
}

impl Writers {
    pub(super) fn new(own: Client, config: Config, count: CountRequests) -> Self {
        Self { own, config, count, clients: Mutex::default() }
    }

    /// The writer that acts as `account`, or as the controller itself, in `namespace`.
    pub(super) fn writer(&self, account: Option<&Account>, namespace: Option<&str>) -> kube::Result<Writer> {
        let client = account.map_or_else(|| Ok(self.own.clone()), |account| self.client(account))?;
        Ok(Writer { client, account: account.cloned(), namespace: namespace.map(str::to_owned) })
    }

    fn client(&self, account: &Account) -> kube::Result<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(account) {
            return Ok(client.clone());
        }
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(account.user());
        config.auth_info.impersonate_groups = None;
        let client = ClientBuilder::try_from(config)?.with_layer(&self.count).build();
        clients.insert(account.clone(), client.clone());
        Ok(client)
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
