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
        Format::Table => output::line(&text_of(top)),
    }
}

fn row(worker: Worker) -> Row {
    Row { name: worker.name, status: worker.status, processing: worker.processing, address: worker.address }
}

fn text_of(top: Top) -> String {
    let desired = top.desired_workers.map_or_else(|| "unknown".to_owned(), |desired| desired.to_string());
    let mut lines = vec![format!("workers   {} connected, {desired} desired by the scheduler", top.workers.len())];
    lines.extend(top.tasks.map(|Tasks { processing, waiting, unrunnable }| {
        format!("tasks     {processing} processing, {waiting} waiting, {unrunnable} unrunnable")
    }));
    let rows: Vec<[String; 4]> =
        top.workers.into_iter().map(|row| [row.name, row.status, row.processing.to_string(), row.address]).collect();
    if !rows.is_empty() {
        lines.push(output::render(["WORKER", "STATUS", "TASKS", "ADDRESS"], &rows));
    }
    lines.join("\n")
}

/// Returns what is printed about workers that process as many tasks each, with as many waiting.
#[cfg(test)]
pub(crate) fn printed(workers: &[(&str, &str)], processing: u64, waiting: u64) -> String {
    let row = |(name, address): &(&str, &str)| Row {
        name: (*name).to_owned(),
        status: "running".to_owned(),
        processing,
        address: (*address).to_owned(),
    };
    let rows: Vec<Row> = workers.iter().map(row).collect();
    let tasks = Tasks { processing: rows.iter().map(|row| row.processing).sum(), waiting, unrunnable: 0 };
    text_of(Top { workers: rows, desired_workers: Some(4), tasks: Some(tasks) })
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
