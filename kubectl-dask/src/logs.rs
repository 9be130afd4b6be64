//! `logs`: the log of the scheduler or of one worker.

use std::io::Write as _;

use futures::{AsyncReadExt as _, io::AsyncRead};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;

use crate::{access::Connection, args::Logs, error::Error, json::name, pods, progress::Progress};

pub(crate) async fn run(connection: &Connection, wanted: &Logs) -> Result<(), Error> {
    let progress = Progress::start("looking for the pod");
    let pod = match &wanted.worker {
        Some(worker) => pods::worker(connection, &wanted.cluster, worker).await?,
        None => pods::scheduler(connection, &wanted.cluster).await?,
    };
    drop(progress);
    let params = LogParams {
        container: Some(pods::main_container(&pod).to_owned()),
        follow: wanted.follow,
        previous: wanted.previous,
        tail_lines: wanted.tail,
        ..LogParams::default()
    };
    let api = connection.api::<Pod>();
    let stream = api.log_stream(name(&pod), &params).await;
    let stream = stream.map_err(|error| Error::api(&format!("get pods/log {}", name(&pod)), &error))?;
    copy(stream).await
}

async fn copy(stream: impl AsyncRead) -> Result<(), Error> {
    let mut stream = Box::pin(stream);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer).await.map_err(Error::io("the log ended early"))?;
        if read == 0 {
            return Ok(());
        }
        let mut stdout = std::io::stdout();
        stdout.write_all(&buffer[..read])?;
        stdout.flush()?;
    }
}
