//! The real controller as a process.

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

/// Among a controller's flags: it watches all namespaces. Otherwise it watches its own, or that of `--namespace`.
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

    /// As [`Self::spawn`], with this kubeconfig instead of the test's, and more flags.
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
            // Where a test's scheduler listens, if it has one.
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

    /// Waits until all watches have delivered.
    pub(crate) async fn ready(&mut self) {
        eventually("the controller to be ready", async || {
            let exited = self.process.try_wait().unwrap();
            assert!(exited.is_none(), "the controller ended: {exited:?}");
            let status = probe(self.admin).await.map_err(|error| error.to_string())?;
            if status.contains(" 200 ") { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// The answer of a probe or of the metrics, head and body.
    pub(crate) async fn answer(&self, path: &str) -> String {
        get(self.admin, path).await.unwrap_or_default()
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn end(mut self) -> ExitStatus {
        tokio::time::timeout(super::DEADLINE, self.process.wait()).await.expect("the controller ends").unwrap()
    }

    /// The most memory that it ever had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id().unwrap())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Code and body of `/livez`.
    pub(crate) async fn live(&self) -> (u16, Value) {
        let answer = get(self.admin, "/livez").await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(body).unwrap())
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        get(self.admin, "/metrics").await.unwrap()
    }

    /// Where probes and metrics are answered.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// SIGTERM, as the kubelet sends it.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.terminate().await;
        self.ended().await
    }

    /// As [`Self::stop`], without waiting for the end.
    pub(crate) async fn terminate(&self) {
        let pid = self.process.id().unwrap().to_string();
        let signalled = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        assert!(signalled.success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(DEADLINE, self.process.wait()).await.expect("the controller ends").unwrap()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Whether it says that it leads.
    pub(crate) async fn leads(&self) -> bool {
        get(self.admin, "/readyz").await.is_ok_and(|answer| answer.contains(r#""leader":true"#))
    }
}

/// The status line of `/readyz`.
async fn probe(address: SocketAddr) -> std::io::Result<String> {
    Ok(get(address, "/readyz").await?.lines().next().unwrap_or_default().to_owned())
}

/// The whole answer, head and body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A port that nobody listens on, and that nobody else in this process gets; below those that the system gives to
/// outgoing connections.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    let free = |port: &u16| given.insert(*port) && std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).find(free).unwrap()
}

/// A listener on `port`, which may have been used just before.
pub(crate) async fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap()
}
