//! The clients of the API server, and their time limits.

use std::time::Duration;

use kube::{Client, Config, client::ClientBuilder};
use operator_runtime::watch::WatchTiming;

use super::Error;
use crate::metrics::Metrics;

/// How long connecting to the API server may take, including the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// Returns a client whose requests are counted in the metrics.
pub(super) fn counted(config: &Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config.clone())?.with_layer(&metrics.runtime.requests()).build())
}

/// Returns the client's configuration. Idle connections time out, including those in the pool, and the next request
/// opens a new one. So a connection that a firewall silently dropped is replaced without keep-alive packets, which kube
/// does not offer.
pub(super) async fn config(watch_timing: WatchTiming) -> Result<Config, Error> {
    let mut config = Config::infer().await?;
    // The reconcilers retry failed requests, with more context. Kube's own retries would occupy a slot for minutes.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT.min(watch_timing.silence()));
    config.read_timeout = Some(watch_timing.silence());
    config.write_timeout = Some(watch_timing.silence());
    config.reset_reader_on_write = true;
    Ok(config)
}
