//! An operator as a process, and what it costs.

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

use crate::{Error, lab::until_every, process};

/// How often an operator is asked whether it is ready: the time until then is measured.
const POLL: Duration = Duration::from_millis(10);

/// What is measured: ours, or the one that dask-kubernetes ships.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// The binary of this project.
    Ours(PathBuf),
    /// The Python environment with dask-kubernetes.
    Upstream(PathBuf),
}

/// Where an operator works.
pub(crate) struct Place<'a> {
    /// Whom it is to the API server.
    pub(crate) kubeconfig: &'a Path,
    /// The only namespace that it looks at.
    pub(crate) namespace: &'a str,
    /// For its log and for plugins' sockets.
    pub(crate) dir: &'a Path,
}

/// A running operator. It is killed when dropped.
pub(crate) struct Operator {
    process: Child,
    /// Where it answers probes, and at which path it says that it is ready.
    probes: (SocketAddr, &'static str),
}

impl Program {
    fn command(&self, place: &Place<'_>, probes: SocketAddr) -> Command {
        let namespace = place.namespace;
        let mut command;
        match self {
            Self::Ours(program) => {
                command = Command::new(program);
                command
                    .args(["run", "--namespace", namespace, "--operator-namespace", namespace])
                    .args(["--admin-address", &probes.to_string()])
                    .args(["--plugin-service-ip", "127.0.0.1", "--scheduler-ip", "127.0.0.1"])
                    .arg("--plugin-socket-dir")
                    .arg(place.dir);
            }
            // As its chart runs it, for one namespace.
            Self::Upstream(environment) => {
                command = Command::new(environment.join("bin/kopf"));
                command
                    .args(["run", "-m", "dask_kubernetes.operator.controller", "--namespace", namespace])
                    .arg(format!("--liveness=http://{probes}/healthz"));
            }
        }
        command
    }

    fn readiness(&self) -> &'static str {
        match self {
            Self::Ours(_) => "/readyz",
            Self::Upstream(_) => "/healthz",
        }
    }
}

impl Operator {
    /// Starts an operator; its log goes to the place's folder.
    pub(crate) fn start(program: &Program, place: &Place<'_>) -> Result<Self, Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let log = File::options().create(true).append(true).open(place.dir.join("operator.log"))?;
        let process = program
            .command(place, address)
            .env("KUBECONFIG", place.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { process, probes: (address, program.readiness()) })
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        let (address, path) = self.probes;
        until_every(POLL, "the operator to be ready", async || {
            if let Some(status) = self.process.try_wait()? {
                return Err(Error::Ended(status.to_string()));
            }
            Ok(get(address, path).await.is_ok_and(|answer| answer.split(' ').nth(1) == Some("200")))
        })
        .await
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) -> Result<(), Error> {
        Ok(self.process.kill().await?)
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Error> {
        process::cpu(self.pid())
    }

    /// The memory that it holds, in KiB.
    pub(crate) fn rss(&self) -> Result<u64, Error> {
        process::rss(self.pid())
    }

    /// The most memory that it ever held, in KiB.
    pub(crate) fn peak_rss(&self) -> Result<u64, Error> {
        process::peak_rss(self.pid())
    }

    fn pid(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }
}

/// A port that nobody listens on.
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
