//! A real Prometheus that scrapes one controller and has the chart's alert rules. Run tests that need it with
//! `make observability`, which puts its programs into PATH.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use super::{
    controller::{free_port, get},
    eventually,
};

/// A running Prometheus. It is killed when dropped.
pub(crate) struct Prometheus {
    _process: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Scrapes `target` each second and keeps its files in `folder`; it answers when this returns.
    pub(crate) async fn start(target: SocketAddr, rules: &Path, folder: &Path) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let labels = json!({"namespace": "dask-operator"});
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "controller", "static_configs": [{"targets": [target], "labels": labels}]}],
        });
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let log = std::fs::File::create(folder.join("prometheus.log")).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus is in PATH: see `make observability`");
        let prometheus = Self { _process: process, address };
        eventually("Prometheus to answer", async || prometheus.ask("/api/v1/status/buildinfo").await).await;
        prometheus
    }

    /// The `data` of an answer of its API.
    pub(crate) async fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = get(self.address, path).await.map_err(|error| error.to_string())?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let mut answer: Value = serde_json::from_str(body).map_err(|error| format!("{error} in {answer}"))?;
        if answer["status"] == "success" { Ok(answer["data"].take()) } else { Err(answer.to_string()) }
    }

    /// The result of an expression right now.
    pub(crate) async fn query(&self, expr: &str) -> Result<Vec<Value>, String> {
        let data = self.ask(&format!("/api/v1/query?query={}", escaped(expr))).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// Series that a selector finds.
    pub(crate) async fn series(&self, selector: &str) -> Result<Vec<Value>, String> {
        let data = self.ask(&format!("/api/v1/series?match[]={}", escaped(selector))).await?;
        Ok(data.as_array().cloned().unwrap_or_default())
    }
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |escaped, byte| escaped + &format!("%{byte:02X}"))
}

/// What promtool says about a scrape; nothing if it is clean.
pub(crate) async fn check_metrics(text: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in PATH: see `make observability`");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = promtool.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if output.status.success() || !said.is_empty() { said } else { output.status.to_string() }
}
