//! `dashboard`: a local port that leads to the scheduler's dashboard for as long as the command runs.

use std::process::Stdio;

use dask_operator_api::meta::DASHBOARD_PREFIX;
use tokio::{net::TcpListener, process::Command};

use crate::{
    access::Connection,
    error::Error,
    forward::{self, Forward, Port},
    json::annotation,
    output, pods,
    progress::Progress,
};

/// The port that users know the dashboard by.
pub(crate) const USUAL: u16 = 8787;
pub(crate) const FORWARDING: &str = "forwarding until you press Ctrl-C; a scheduler that restarts is found again";

pub(crate) async fn run(
    connection: &Connection,
    cluster: &str,
    port: Option<u16>,
    no_browser: bool,
) -> Result<(), Error> {
    let progress = Progress::start("looking for the scheduler");
    // Says at once if there is no pod, or no right to see it.
    pods::scheduler(connection, cluster).await?;
    let service = forward::service(connection, cluster).await.unwrap_or_default();
    drop(progress);
    let listener = listen(port).await?;
    let prefix = annotation(&service, DASHBOARD_PREFIX).trim_end_matches('/').to_owned();
    let url = url(forward::local_port(&listener)?, &prefix);
    output::line(&url)?;
    eprintln!("{FORWARDING}");
    if !no_browser {
        open(&url);
    }
    tokio::select! {
        () = Forward::new(connection, cluster, Port::Dashboard).serve(listener) => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Returns the URL of the dashboard. `prefix` is that of the scheduler's dashboard.
pub(crate) fn url(port: u16, prefix: &str) -> String {
    format!("http://localhost:{port}{prefix}/status")
}

async fn listen(port: Option<u16>) -> Result<TcpListener, Error> {
    match port {
        Some(port) => forward::listen(port).await,
        None => match forward::listen(USUAL).await {
            Ok(listener) => Ok(listener),
            Err(_) => forward::listen(0).await,
        },
    }
}

/// Opens the browser. Without one, the URL that was printed has to do.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let started =
        Command::new(program).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if started.is_err() {
        eprintln!("no browser was found: open the URL yourself");
    }
}
