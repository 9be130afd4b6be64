//! Runs an operator as a process and measures its CPU time and memory.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

use crate::{Error, process, wait::wait_until_every};

/// Interval of the readiness probe. It is short because the time until the operator is ready is measured.
const POLL: Duration = Duration::from_millis(10);

/// The operator that is measured.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// This project's binary.
    Ours(PathBuf),
    /// A Python environment with dask-kubernetes.
    Upstream(PathBuf),
}

/// How an operator is run.
pub(crate) struct OperatorConfig<'a> {
    /// Cluster and credentials.
    pub(crate) kubeconfig: &'a Path,
    /// The only namespace that it watches.
    pub(crate) namespace: &'a str,
    /// For its log and for the plugins' sockets.
    pub(crate) dir: &'a Path,
}

/// A running operator. It is killed when dropped.
pub(crate) struct Operator {
    process: Child,
    readiness: ReadinessProbe,
}

/// The HTTP endpoint that reports whether an operator is ready.
#[derive(Clone, Copy)]
struct ReadinessProbe {
    address: SocketAddr,
    path: &'static str,
}

impl Program {
    fn command(&self, config: &OperatorConfig<'_>, probes: SocketAddr) -> Command {
        let namespace = config.namespace;
        let mut command;
        match self {
            Self::Ours(program) => {
                command = Command::new(program);
                command
                    .args(["run", "--namespace", namespace, "--operator-namespace", namespace])
                    .args(["--admin-address", &probes.to_string()])
                    .args(["--plugin-service-ip", "127.0.0.1", "--scheduler-ip", "127.0.0.1"])
                    .arg("--plugin-socket-dir")
                    .arg(config.dir);
            }
            // The arguments of its chart, for one namespace.
            Self::Upstream(environment) => {
                command = Command::new(environment.join("bin/kopf"));
                command
                    .args(["run", "-m", "dask_kubernetes.operator.controller", "--namespace", namespace])
                    .arg(format!("--liveness=http://{probes}/healthz"));
            }
        }
        command
    }

    fn readiness_path(&self) -> &'static str {
        match self {
            Self::Ours(_) => "/readyz",
            Self::Upstream(_) => "/healthz",
        }
    }
}

impl Operator {
    /// Starts an operator. Its log goes to the directory of `config`.
    pub(crate) fn start(program: &Program, config: &OperatorConfig<'_>) -> Result<Self, Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let log = File::options().create(true).append(true).open(config.dir.join("operator.log"))?;
        let process = program
            .command(config, address)
            .env("KUBECONFIG", config.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { process, readiness: ReadinessProbe { address, path: program.readiness_path() } })
    }

    /// Waits until the operator reports that it is ready.
    pub(crate) async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let ReadinessProbe { address, path } = self.readiness;
        wait_until_every(POLL, "the operator to be ready", async || {
            if let Some(status) = self.process.try_wait()? {
                return Err(Error::OperatorExited(status.to_string()));
            }
            Ok(get(address, path).await.is_ok_and(|answer| answer.split(' ').nth(1) == Some("200")))
        })
        .await
    }

    /// Kills the process with SIGKILL.
    pub(crate) async fn kill(mut self) -> Result<(), Error> {
        Ok(self.process.kill().await?)
    }

    /// Returns the CPU time that the operator has used.
    pub(crate) fn cpu(&self) -> Result<Duration, Error> {
        process::cpu(self.pid())
    }

    /// Returns the resident memory in KiB.
    pub(crate) fn rss(&self) -> Result<u64, Error> {
        process::rss(self.pid())
    }

    /// Returns the peak of the resident memory in KiB.
    pub(crate) fn peak_rss(&self) -> Result<u64, Error> {
        process::peak_rss(self.pid())
    }

    fn pid(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }
}

/// Returns a free port.
pub(crate) fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
