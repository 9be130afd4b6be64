//! The identities that write and watch the children of plugins.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{Client, Config, client::ClientBuilder, core::ApiResource};
use operator_runtime::metrics::CountRequests;
use operator_runtime::scope::Scope;

/// How long the client of an account is kept after its last use, if no registered plugin uses it. Plugins that are
/// refused are reconciled more often than that.
const UNUSED: Duration = Duration::from_mins(2);
/// The maximum number of accounts of one team that the controller impersonates at a time. Each costs a connection pool.
const MAX_ACCOUNTS: usize = 16;

/// The reason why there is no client for a writer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no client for it: {0}")]
    Client(#[from] kube::Error),
    #[error(
        "the plugins of the namespace {0} name more than {MAX_ACCOUNTS} ServiceAccounts; let some of them share one"
    )]
    TooMany(String),
}

/// An identity at the API server.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) client: Client,
    /// The ServiceAccount that is impersonated, or `None` for the controller itself.
    pub(crate) account: Option<Account>,
    /// The only namespace in which the writer acts, or `None` for all watched namespaces.
    pub(crate) namespace: Option<String>,
}

/// The values that distinguish writers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WriterKey {
    account: Option<Account>,
    namespace: Option<String>,
}

/// A ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Account {
    /// Returns the account's user name. The API server adds the groups of service accounts by itself.
    fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl Writer {
    /// Returns the namespaces in which the writer acts. `watched` is the scope of the controller.
    pub(crate) fn scope(&self, watched: &Scope) -> Scope {
        self.namespace.as_ref().map_or_else(|| watched.clone(), |namespace| Scope::of([namespace]))
    }

    /// Returns the writer's key. Plugins whose writers have the same key share watches.
    pub(crate) fn key(&self) -> WriterKey {
        WriterKey { account: self.account.clone(), namespace: self.namespace.clone() }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("account", &self.account).finish_non_exhaustive()
    }
}

/// The clients of all writers. There is one for each ServiceAccount. It is created when it is first needed and dropped
/// when no plugin needs it any more.
pub(crate) struct Writers {
    own: Client,
    /// The configuration of the controller's own client, with its timeouts.
    config: Config,
    count: CountRequests,
    /// The operator's namespace, whose plugins may have any number of accounts.
    home: String,
    clients: Mutex<HashMap<Account, Kept>>,
}

struct Kept {
    client: Client,
    used: Instant,
}

impl Writers {
    pub(crate) fn new(own: Client, config: Config, count: CountRequests, home: &str) -> Self {
        Self { own, config, count, home: home.to_owned(), clients: Mutex::default() }
    }

    /// Returns the writer that acts as `account`, or as the controller itself, in `namespace`.
    pub(crate) fn writer(&self, account: Option<&Account>, namespace: Option<&str>) -> Result<Writer, Error> {
        let client = match account {
            Some(account) => self.client(account, Instant::now())?,
            None => self.own.clone(),
        };
        Ok(Writer { client, account: account.cloned(), namespace: namespace.map(str::to_owned) })
    }

    /// Drops the clients of accounts that are not in `wanted` and have not been used for a while.
    pub(crate) fn close(&self, wanted: &HashSet<Account>, now: Instant) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|account, kept| wanted.contains(account) || now.saturating_duration_since(kept.used) < UNUSED);
    }

    fn client(&self, account: &Account, now: Instant) -> Result<Client, Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = clients.get_mut(account) {
            kept.used = now;
            return Ok(kept.client.clone());
        }
        let of_team = clients.keys().filter(|other| other.namespace == account.namespace).count();
        if account.namespace != self.home && of_team >= MAX_ACCOUNTS {
            return Err(Error::TooMany(account.namespace.clone()));
        }
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(account.user());
        config.auth_info.impersonate_groups = None;
        let client = ClientBuilder::try_from(config)?.with_layer(&self.count).build();
        clients.insert(account.clone(), Kept { client: client.clone(), used: now });
        Ok(client)
    }
}

/// The values that distinguish watches of children.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WatchKey {
    pub(crate) writer: WriterKey,
    pub(crate) resource: ApiResource,
}

/// Returns a writer that no API server listens to.
#[cfg(test)]
pub(crate) fn test_writer() -> Writer {
    // A new client spawns a task and needs a runtime; the task itself is never polled.
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    let _guard = RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().unwrap()).enter();
    let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    Writer { client, account: None, namespace: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(namespace: &str, name: &str) -> Account {
        Account { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[tokio::test]
    async fn a_team_has_a_bounded_number_of_clients() {
        let config = Config::new("http://127.0.0.1:1".parse().unwrap());
        let count = operator_runtime::metrics::RuntimeMetrics::default().requests();
        let writers = Writers::new(test_writer().client, config, count, "dask-operator");
        let now = Instant::now();
        let ask = |namespace: &str, number: usize, now| writers.client(&account(namespace, &number.to_string()), now);
        for number in 0..MAX_ACCOUNTS {
            ask("team-a", number, now).unwrap();
            ask("dask-operator", number, now).unwrap();
        }
        assert!(matches!(ask("team-a", MAX_ACCOUNTS, now), Err(Error::TooMany(_))));
        assert!(ask("team-a", 0, now).is_ok(), "the client is there");
        assert!(ask("team-b", 0, now).is_ok() && ask("dask-operator", MAX_ACCOUNTS, now).is_ok());

        let wanted = HashSet::from([account("team-a", "7")]);
        writers.close(&wanted, now + UNUSED / 2);
        assert!(ask("team-a", MAX_ACCOUNTS, now).is_err(), "they were used just now");
        writers.close(&wanted, now + UNUSED);
        assert_eq!(writers.clients.lock().unwrap().keys().collect::<Vec<_>>(), [&account("team-a", "7")]);
    }
}
