//! Client of a Dask scheduler: its workers, their retirement, the number of workers that it wants, and its idleness.
//!
//! The client uses Dask's RPC. If the RPC cannot be reached, it falls back to the dashboard's HTTP API, which users
//! have to enable. It does not fall back for a call that may have reached the scheduler by RPC already.

pub mod codec;
mod connection;
mod endpoint;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod http;
mod lenient;
pub mod message;
mod tls;

use std::{collections::BTreeSet, time::Duration};

use serde::{Serialize, de::DeserializeOwned, de::IgnoredAny};
use serde_json::json;

pub use endpoint::Endpoint;
pub use error::Error;
pub use http::Counts;
pub use tls::tls_config;

use connection::Connection;
use http::Http;
use lenient::{Entries, Scalar};
use message::Identity;

/// Time limit of a call that the scheduler answers from memory.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of moving the workers' data. If it takes longer, the scheduler continues without the client.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// A worker that is connected to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its address, such as `tcp://10.0.0.2:40331`. It is unique, and never reused by a later worker.
    pub address: String,
    /// Its name, which is its address if it was given none.
    pub name: String,
    /// Dask's name of its state, such as `running` or `paused`. Empty if the answer came by HTTP.
    pub status: String,
    /// Tasks that it runs or has yet to run, as of its last heartbeat. 0 if the answer came by HTTP.
    pub processing: u64,
}

impl Worker {
    /// Returns the IP address at which the worker listens.
    pub fn host(&self) -> Option<&str> {
        let (_, location) = self.address.split_once("://")?;
        let (host, _port) = location.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (!host.is_empty()).then_some(host)
    }
}

/// Whether a scheduler has anything to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Idleness {
    /// It has something to do, or that cannot be determined.
    Busy,
    /// It has had nothing to do since this time, in epoch seconds by the scheduler's clock.
    Since(f64),
    /// It has nothing to do at present, but does not report since when: it is old (before 2023.4), or something has
    /// finished since it was last asked.
    Counted,
}

/// The interface of a scheduler that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Dask's RPC.
    Rpc,
    /// The dashboard's HTTP API.
    Http,
}

/// Workers that were retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The addresses of the workers that this call retired.
    pub addresses: BTreeSet<String>,
    /// The interface that was used.
    pub by: Side,
}

/// Client of one scheduler. It opens a connection for each call: calls are rare, and each may reach a new scheduler.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
}

impl Client {
    /// Creates a client, without connecting yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Returns all connected workers.
    pub async fn workers(&self) -> Result<Vec<Worker>, Error> {
        // Without the argument `n_workers`, which old schedulers do not know, all workers are described.
        let rpc: Rpc<Identity> = self.call("identity", json!({}), CALL_TIMEOUT).await;
        match rpc {
            Ok(identity) => Ok(identity.into_workers()),
            Err(failure) => self.ask_http(failure, async |http| http.workers(CALL_TIMEOUT).await).await,
        }
    }

    /// Returns the addresses of at most `n` workers, those that cost least to close first. Busy workers are included
    /// if there are not enough others. Workers of new versions that run tasks which start tasks are left out.
    pub async fn closing_order(&self, n: usize) -> Result<Vec<String>, Error> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let arguments = json!({"n": n, "attribute": "address"});
        let rpc: Rpc<Entries<()>> = self.call("workers_to_close", arguments, CALL_TIMEOUT).await;
        Ok(rpc.map_err(Failure::into_error)?.0.into_iter().map(|(address, ())| address).collect())
    }

    /// Moves the workers' data to other workers, and removes them from the scheduler; their tasks are given to others.
    /// Returns the addresses of the workers that this call retired. The others hold data that cannot be moved, or were
    /// not connected any more.
    pub async fn retire(&self, addresses: &[String]) -> Result<Retired, Error> {
        if addresses.is_empty() {
            return Ok(Retired { addresses: BTreeSet::new(), by: Side::Rpc });
        }
        let arguments = json!({"workers": addresses, "close_workers": false, "remove": true});
        let rpc: Rpc<Entries<IgnoredAny>> = self.call("retire_workers", arguments, RETIRE_TIMEOUT).await;
        let failure = match rpc {
            Ok(retired) => return Ok(Retired { addresses: retired.into_addresses(), by: Side::Rpc }),
            Err(failure) => failure,
        };
        let retired = self.ask_http(failure, async |http| http.retire(addresses, RETIRE_TIMEOUT).await).await?;
        Ok(Retired { addresses: retired, by: Side::Http })
    }

    /// Returns the number of workers that the scheduler wants for its present tasks.
    pub async fn desired_workers(&self) -> Result<u64, Error> {
        let rpc: Rpc<Scalar> = self.call("adaptive_target", json!({}), CALL_TIMEOUT).await;
        match rpc {
            Ok(target) => target.count().ok_or_else(|| Error::Protocol(format!("{target:?} is no number of workers"))),
            Err(failure) => self.ask_http(failure, async |http| http.desired_workers(CALL_TIMEOUT).await).await,
        }
    }

    /// Returns whether the scheduler has anything to do.
    pub async fn idleness(&self) -> Result<Idleness, Error> {
        let rpc: Rpc<Scalar> = self.call("check_idle", json!({}), CALL_TIMEOUT).await;
        let since = match rpc {
            Ok(Scalar::Nothing) => None,
            Ok(since) => Some(since.seconds().ok_or_else(|| Error::Protocol(format!("{since:?} is no time")))?),
            Err(failure) => self.ask_http(failure, async |http| http.idle_since(CALL_TIMEOUT).await).await?,
        };
        match since {
            Some(since) => Ok(Idleness::Since(since)),
            None => self.counted().await,
        }
    }

    /// Returns the counts of the dashboard. They are not available by RPC.
    pub async fn counts(&self) -> Result<Counts, Error> {
        match Http::new(&self.endpoint)? {
            Some(http) => http.counts(CALL_TIMEOUT).await,
            None => Err(Error::Protocol("the scheduler's Service has no port for HTTP".to_owned())),
        }
    }

    /// Derives the idleness from the counts of the dashboard: busy schedulers, those that were busy until now, and old
    /// ones give the same answer to `check_idle`.
    async fn counted(&self) -> Result<Idleness, Error> {
        let Some(http) = Http::new(&self.endpoint)? else {
            return Ok(Idleness::Busy);
        };
        match http.counts(CALL_TIMEOUT).await {
            Ok(counts) if counts.is_idle() => Ok(Idleness::Counted),
            // Another server is there, or the dashboard has another prefix.
            Err(error @ Error::Status { .. }) => Err(error),
            // The port may be closed.
            Ok(_) | Err(_) => Ok(Idleness::Busy),
        }
    }

    async fn call<T: DeserializeOwned>(&self, op: &'static str, arguments: impl Serialize, limit: Duration) -> Rpc<T> {
        let connection = Connection::open(&self.endpoint).await.map_err(Failure::NotAsked)?;
        connection.call(op, arguments, limit).await.map_err(Failure::Asked)
    }

    /// Repeats by HTTP a call that could not be sent by RPC. If that fails as well, the error of the RPC is returned,
    /// because HTTP is optional. The answer of a server at the port of HTTP is part of it.
    async fn ask_http<T>(
        &self,
        failure: Failure,
        ask: impl AsyncFnOnce(&Http) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let error = match failure {
            Failure::NotAsked(error) => error,
            Failure::Asked(error) => return Err(error),
        };
        match Http::new(&self.endpoint)? {
            Some(http) => ask(&http).await.map_err(|by_http| match by_http {
                Error::Status { status, path } => Error::RpcAndHttp { rpc: Box::new(error), status, path },
                _ => error,
            }),
            None => Err(error),
        }
    }
}

/// The result of a call by RPC.
type Rpc<T> = Result<T, Failure>;

/// How far a failed RPC call got.
enum Failure {
    /// The call did not reach the scheduler.
    NotAsked(Error),
    /// The scheduler may have executed the call.
    Asked(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::NotAsked(error) | Self::Asked(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_worker_is_the_ip_in_its_address() {
        let table = [
            ("tcp://10.0.0.2:40331", Some("10.0.0.2")),
            ("tls://10.0.0.2:40331", Some("10.0.0.2")),
            ("tcp://[fd00::2]:40331", Some("fd00::2")),
            ("tls://[::1]:1", Some("::1")),
            ("inproc://10.0.0.2/7/1", None),
            ("tcp://:40331", None),
            ("10.0.0.2:40331", None),
            ("tcp://10.0.0.2", None),
            ("", None),
        ];
        for (address, host) in table {
            let worker =
                Worker { address: address.to_owned(), name: String::new(), status: String::new(), processing: 0 };
            assert_eq!(worker.host(), host, "{address}");
        }
    }
}
