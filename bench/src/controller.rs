//! The controller as a process, and what it costs.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, Command};

use crate::Error;

/// Length of the kernel's ticks on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// A running controller. It is killed when dropped.
pub(crate) struct Controller {
    process: Child,
}

impl Controller {
    /// Starts the controller for one namespace; its log goes to `dir`.
    pub(crate) fn start(program: &Path, namespace: &str, dir: &Path) -> Result<Self, Error> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = File::create(dir.join("controller.log"))?;
        let process = Command::new(program)
            .args(["run", "--namespace", namespace, "--operator-namespace", namespace])
            .args(["--admin-address", &format!("127.0.0.1:{port}")])
            .args(["--plugin-service-ip", "127.0.0.1", "--scheduler-ip", "127.0.0.1"])
            .arg("--plugin-socket-dir")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { process })
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Error> {
        let stat = self.proc("stat")?;
        // The second field is the program's name in parentheses, in which anything may stand.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok()).unwrap_or_default();
        Ok(TICK * (ticks(11) + ticks(12)))
    }

    /// The most memory that it ever held, in MiB.
    pub(crate) fn peak_rss(&self) -> Result<u64, Error> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        Ok(line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024)
    }

    fn proc(&self, file: &str) -> Result<String, Error> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id().unwrap_or_default()))?)
    }
}
