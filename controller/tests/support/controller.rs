//! The controller as a process.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Mutex,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use super::{DEADLINE, eventually};

/// A pseudo flag that makes a controller watch all namespaces. Otherwise it watches its own, or that of `--namespace`.
pub(crate) const EVERYWHERE: &str = "(all namespaces)";

/// A running controller. It is killed when dropped.
pub(crate) struct Controller {
    process: Child,
    admin: SocketAddr,
}

impl Controller {
    pub(super) fn spawn(namespace: &str, socket_dir: &Path, log: &Path) -> Self {
        Self::spawn_with(namespace, socket_dir, log, (None, &[]))
    }

    /// Does the same as [`Self::spawn`], with additional flags and, if given, another kubeconfig.
    pub(super) fn spawn_with(
        namespace: &str,
        socket_dir: &Path,
        log: &Path,
        (kubeconfig, flags): (Option<&Path>, &[&str]),
    ) -> Self {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let chosen = flags.iter().any(|flag| matches!(*flag, "--namespace" | EVERYWHERE));
        let watched = if chosen { Vec::new() } else { vec!["--namespace", namespace] };
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_dask-operator"))
            .args(["run", "--operator-namespace", namespace])
            .args(watched)
            .args(["--admin-address", &admin.to_string(), "--plugin-service-ip", "127.0.0.1"])
            // The fake schedulers of tests listen there.
            .args(["--scheduler-ip", "127.0.0.1"])
            .args(flags.iter().filter(|flag| **flag != EVERYWHERE))
            .arg("--plugin-socket-dir")
            .arg(socket_dir)
            .envs(kubeconfig.map(|path| ("KUBECONFIG", path)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { process, admin }
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self) {
        eventually("the controller to be ready", async || {
            let exited = self.process.try_wait().unwrap();
            assert!(exited.is_none(), "the controller exited: {exited:?}");
            let status = probe(self.admin).await.map_err(|error| error.to_string())?;
            if status.contains(" 200 ") { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// Returns head and body of the response of a probe or of the metrics.
    pub(crate) async fn answer(&self, path: &str) -> String {
        get(self.admin, path).await.unwrap_or_default()
    }

    /// Waits until the process exits by itself.
    pub(crate) async fn end(mut self) -> ExitStatus {
        tokio::time::timeout(super::DEADLINE, self.process.wait()).await.expect("the controller exits").unwrap()
    }

    /// Returns its peak memory in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Returns its resident memory in bytes, without the pages of its program.
    pub(crate) fn resident_memory(&self) -> u64 {
        self.memory("RssAnon:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id().unwrap())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Returns the value of a metric. Its name is followed by its labels, as in the answer of `/metrics`.
    pub(crate) async fn metric(&self, name: &str) -> Option<u64> {
        let metrics = self.metrics().await;
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Returns code and body of `/livez`.
    pub(crate) async fn live(&self) -> (u16, Value) {
        let answer = get(self.admin, "/livez").await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(body).unwrap())
    }

    /// Returns the response of `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        get(self.admin, "/metrics").await.unwrap()
    }

    /// Returns the address of probes and metrics.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Kills the process with SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Sends SIGTERM, as the kubelet does, and waits for the exit.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.terminate().await;
        self.ended().await
    }

    /// Sends SIGTERM without waiting for the exit.
    pub(crate) async fn terminate(&self) {
        let pid = self.process.id().unwrap().to_string();
        let signalled = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        assert!(signalled.success());
    }

    /// Waits for the exit.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(DEADLINE, self.process.wait()).await.expect("the controller exits").unwrap()
    }

    /// Returns whether it has exited.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Returns whether its readiness says that it leads.
    pub(crate) async fn leads(&self) -> bool {
        get(self.admin, "/readyz").await.is_ok_and(|answer| answer.contains(r#""leader":true"#))
    }
}

/// Returns the status line of `/readyz`.
async fn probe(address: SocketAddr) -> std::io::Result<String> {
    Ok(get(address, "/readyz").await?.lines().next().unwrap_or_default().to_owned())
}

/// Returns head and body of a response.
pub(crate) async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Returns a port that is free and that this process did not return before. It is below the range that the system uses for
/// outgoing connections.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    let free = |port: &u16| given.insert(*port) && std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).find(free).unwrap()
}

/// Listens on `port`, which may have been in use a moment ago.
pub(crate) async fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap()
}
