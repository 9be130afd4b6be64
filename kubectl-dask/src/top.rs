//! `top`: what the scheduler itself counts.

use dask_operator_api::meta::DASHBOARD_PREFIX;
use dask_scheduler_client::{Client, Counts, Endpoint, Worker, tls_config};
use k8s_openapi::api::core::v1::Secret;
use serde::Serialize;
use serde_json::Value;

use crate::{
    access::Connection,
    args::Format,
    error::Error,
    fetch,
    forward::{self, Forward, Port},
    json::{annotation, text},
    output,
    progress::Progress,
};

#[derive(Serialize)]
struct Row {
    name: String,
    status: String,
    processing: u64,
    address: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Top {
    workers: Vec<Row>,
    desired_workers: Option<u64>,
    /// Tasks, if the dashboard serves their counts.
    tasks: Option<Tasks>,
}

#[derive(Serialize)]
struct Tasks {
    processing: u64,
    waiting: u64,
    unrunnable: u64,
}

pub(crate) async fn run(connection: &Connection, name: &str, format: Format) -> Result<(), Error> {
    let cluster = fetch::cluster(connection, name).await?;
    let progress = Progress::start("asking the scheduler");
    let client = client(connection, name, &cluster).await?;
    let mut workers = client.workers().await?;
    let (desired, counts) = (client.desired_workers().await.ok(), client.counts().await.ok());
    drop(progress);
    workers.sort_by(|one, other| one.name.cmp(&other.name));
    let top = Top {
        workers: workers.into_iter().map(row).collect(),
        desired_workers: desired,
        tasks: counts.map(|Counts { processing, waiting, unrunnable, .. }| Tasks { processing, waiting, unrunnable }),
    };
    match format {
        Format::Json => output::json(&top),
        Format::Table => print(top),
    }
}

fn row(worker: Worker) -> Row {
    Row { name: worker.name, status: worker.status, processing: worker.processing, address: worker.address }
}

fn print(top: Top) -> Result<(), Error> {
    let desired = top.desired_workers.map_or_else(|| "unknown".to_owned(), |desired| desired.to_string());
    output::line(&format!("workers   {} connected, {desired} desired by the scheduler", top.workers.len()))?;
    if let Some(Tasks { processing, waiting, unrunnable }) = top.tasks {
        output::line(&format!("tasks     {processing} processing, {waiting} waiting, {unrunnable} unrunnable"))?;
    }
    let rows: Vec<[String; 4]> =
        top.workers.into_iter().map(|row| [row.name, row.status, row.processing.to_string(), row.address]).collect();
    if rows.is_empty() { Ok(()) } else { output::table(["WORKER", "STATUS", "TASKS", "ADDRESS"], &rows) }
}

/// Returns a client that reaches the scheduler by forwarded ports.
async fn client(connection: &Connection, name: &str, cluster: &Value) -> Result<Client, Error> {
    let (rpc, http) = (forward::listen(0).await?, forward::listen(0).await?);
    let service = forward::service(connection, name).await.unwrap_or_default();
    let mut endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: forward::local_port(&rpc)?,
        http_port: Some(forward::local_port(&http)?),
        http_prefix: annotation(&service, DASHBOARD_PREFIX).trim_end_matches('/').to_owned(),
        tls: None,
    };
    let secret = text(cluster, "/spec/scheduler/tls/secretName");
    if !secret.is_empty() {
        let action = format!("get secret {secret}, which holds the certificate for the scheduler");
        let found = connection.api::<Secret>().get(secret).await.map_err(|error| Error::api(&action, &error))?;
        let key = |key: &str| {
            found.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.clone()).unwrap_or_default()
        };
        endpoint.tls = Some(tls_config(&key("ca.crt"), &key("tls.crt"), &key("tls.key"))?);
    }
    tokio::spawn(Forward::new(connection, name, Port::Rpc).serve(rpc));
    tokio::spawn(Forward::new(connection, name, Port::Dashboard).serve(http));
    Ok(Client::new(endpoint))
}
