//! The scheduler's HTTP interface: counts, which each dashboard serves, and the API, which users have to enable.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, de::DeserializeOwned, de::IgnoredAny};
use serde_json::json;

use super::{
    Endpoint, Error, Worker, codec,
    connection::CONNECT_TIMEOUT,
    endpoint::bracketed,
    lenient::{Entries, Scalar},
};

/// Client of the HTTP interface of one scheduler.
pub(crate) struct Http {
    client: Client,
    base: String,
}

/// The fields of `/json/counts.json` that show whether there is work.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Counts {
    /// Tasks that run, or that a worker has yet to run.
    pub processing: u64,
    /// Tasks that wait for others.
    pub waiting: u64,
    /// Tasks that no worker can run.
    pub unrunnable: u64,
    /// Connected workers.
    pub workers: u64,
    /// Workers that the scheduler wants for its tasks.
    pub desired_workers: u64,
}

#[derive(Deserialize)]
pub(crate) struct WorkerList {
    workers: Vec<ListedWorker>,
}

#[derive(Deserialize)]
struct ListedWorker {
    name: Scalar,
    address: String,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) workers: u64,
}

#[derive(Deserialize)]
pub(crate) struct Idle {
    pub(crate) idle_since: Option<f64>,
}

impl WorkerList {
    pub(crate) fn into_workers(self) -> Vec<Worker> {
        let worker = |ListedWorker { name, address }| Worker {
            name: name.into_text().unwrap_or_else(|| address.clone()),
            status: String::new(),
            processing: 0,
            address,
        };
        self.workers.into_iter().map(worker).collect()
    }
}

impl Counts {
    /// Returns whether nothing runs or waits. Tasks that are queued because there is no worker at all are not counted,
    /// but then the scheduler desires one.
    pub(crate) fn is_idle(&self) -> bool {
        let Self { processing, waiting, unrunnable, workers, desired_workers } = self;
        // The counts are not summed up: a scheduler may send any numbers, and a sum that overflows could be 0.
        [processing, waiting, unrunnable].into_iter().all(|count| *count == 0)
            && (*workers > 0 || *desired_workers == 0)
    }
}

impl Http {
    /// Returns a client, or `None` if the scheduler's Service has no port for HTTP.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Option<Self>, Error> {
        let Some(port) = endpoint.http_port else {
            return Ok(None);
        };
        let failed = |error: &dyn std::fmt::Display| Error::Protocol(format!("there is no HTTP client: {error}"));
        // The HTTP client requires a TLS configuration even if it is not used.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unused = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_backend_preconfigured(unused)
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Some(Self { client, base: format!("http://{}:{port}{}", bracketed(&endpoint.host), endpoint.http_prefix) }))
    }

    pub(crate) async fn counts(&self, limit: Duration) -> Result<Counts, Error> {
        self.get("/json/counts.json", limit).await
    }

    /// Returns the workers. The API does not report their tasks.
    pub(crate) async fn workers(&self, limit: Duration) -> Result<Vec<Worker>, Error> {
        Ok(self.get::<WorkerList>("/api/v1/get_workers", limit).await?.into_workers())
    }

    pub(crate) async fn retire(&self, addresses: &[String], limit: Duration) -> Result<BTreeSet<String>, Error> {
        let request = self.client.post(self.url("/api/v1/retire_workers")).json(&json!({"workers": addresses}));
        let retired: Entries<IgnoredAny> = send(request, limit).await?;
        Ok(retired.into_addresses())
    }

    pub(crate) async fn desired_workers(&self, limit: Duration) -> Result<u64, Error> {
        Ok(self.get::<Target>("/api/v1/adaptive_target", limit).await?.workers)
    }

    pub(crate) async fn idle_since(&self, limit: Duration) -> Result<Option<f64>, Error> {
        Ok(self.get::<Idle>("/api/v1/check_idle", limit).await?.idle_since)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, limit: Duration) -> Result<T, Error> {
        send(self.client.get(self.url(path)), limit).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// Sends `request` and parses the answer. It reads at most as many bytes as a message may have, regardless of what the
/// scheduler announces or sends.
async fn send<T: DeserializeOwned>(request: RequestBuilder, limit: Duration) -> Result<T, Error> {
    let failed = |error: reqwest::Error| Error::Protocol(format!("HTTP failed: {}", error.without_url()));
    let mut response = request.timeout(limit).send().await.map_err(failed)?;
    if response.status() != http::StatusCode::OK {
        return Err(Error::Status { status: response.status().as_u16(), path: response.url().path().to_owned() });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > codec::MAX_MESSAGE {
            return Err(Error::Protocol(format!("HTTP answered with more than {} bytes", codec::MAX_MESSAGE)));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| Error::Protocol(format!("HTTP answered with no such JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_idle(counts: [u64; 5]) -> bool {
        let [processing, waiting, unrunnable, workers, desired_workers] = counts;
        Counts { processing, waiting, unrunnable, workers, desired_workers }.is_idle()
    }

    /// A mistake here deletes a cluster that still has work.
    #[test]
    fn counts_say_idle_only_if_there_is_nothing_to_do() {
        assert!(is_idle([0, 0, 0, 2, 2]), "a scheduler may desire the workers that hold results");
        assert!(is_idle([0, 0, 0, 0, 0]));
        assert!(!is_idle([1, 0, 0, 2, 0]), "running");
        assert!(!is_idle([0, 1, 0, 2, 0]), "waiting");
        assert!(!is_idle([0, 0, 1, 2, 0]), "unrunnable");
        assert!(!is_idle([u64::MAX, 1, 0, 2, 0]), "as many as make 0 when they are added up");
        assert!(!is_idle([0, 0, 0, 0, 1]), "queued until there is a worker");
    }
}
