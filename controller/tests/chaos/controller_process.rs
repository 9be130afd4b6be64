//! The controller as a process that is restarted when it ends, as Kubernetes restarts a container.

use std::{
    fs::OpenOptions,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::AbortHandle,
};

use crate::{
    clock::Clock,
    proxy::Proxy,
    support::{TestContext, controller::free_port, eventually, proxy::write_kubeconfig},
};

/// A controller that is restarted until this is dropped.
pub(crate) struct ControllerProcess {
    admin: SocketAddr,
    kills: Arc<AtomicUsize>,
    kill_requests: UnboundedSender<()>,
    supervisor: AbortHandle,
}

/// How a controller is started.
struct StartOptions {
    namespace: String,
    admin: SocketAddr,
    socket_dir: PathBuf,
    kubeconfig: PathBuf,
    log: PathBuf,
    env: Vec<(&'static str, String)>,
}

impl Drop for ControllerProcess {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl ControllerProcess {
    /// Starts a controller whose API server is `proxy`, and waits until it is ready.
    pub(crate) async fn start(context: &TestContext, proxy: &Arc<Proxy>, clock: &Clock, seed: u64) -> Self {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let folder = context.folder();
        let options = StartOptions {
            namespace: context.namespace.clone(),
            admin,
            socket_dir: context.socket_dir(),
            kubeconfig: write_kubeconfig(proxy.address(), &folder),
            log: log_of(context),
            env: clock.environment(),
        };
        let (kill_requests, received) = unbounded_channel();
        let kills = Arc::new(AtomicUsize::new(0));
        let supervisor =
            tokio::spawn(supervise(options, Arc::clone(proxy), received, (Arc::clone(&kills), seed))).abort_handle();
        let process = Self { admin, kills, kill_requests, supervisor };
        process.ready().await;
        process
    }

    /// Kills the controller. It is restarted a moment later.
    pub(crate) fn kill(&self) {
        self.kill_requests.send(()).unwrap();
    }

    /// How often the controller was killed.
    pub(crate) fn kills(&self) -> usize {
        self.kills.load(Ordering::SeqCst)
    }

    async fn ready(&self) {
        eventually("the controller to be ready", async || {
            let mut stream = TcpStream::connect(self.admin).await.map_err(|error| error.to_string())?;
            stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.map_err(|error| error.to_string())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
            if answer.lines().next().is_some_and(|line| line.contains(" 200 ")) { Ok(()) } else { Err(answer) }
        })
        .await;
    }
}

/// Returns the log file of a run's controllers.
pub(crate) fn log_of(context: &TestContext) -> PathBuf {
    context.socket_dir().join("controller.log")
}

async fn supervise(
    options: StartOptions,
    proxy: Arc<Proxy>,
    mut kill_requests: UnboundedReceiver<()>,
    (kills, seed): (Arc<AtomicUsize>, u64),
) {
    let mut rng = Rng::with_seed(seed);
    loop {
        let mut controller = options.spawn();
        tokio::select! {
            // It may exit by itself when it cannot continue, and is restarted then.
            ended = controller.wait() => drop(ended),
            request = kill_requests.recv() => {
                if request.is_none() {
                    return;
                }
                kills.fetch_add(1, Ordering::SeqCst);
                controller.kill().await.unwrap();
            }
            () = proxy.kill() => {
                kills.fetch_add(1, Ordering::SeqCst);
                controller.kill().await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(0..1500))).await;
    }
}

impl StartOptions {
    fn spawn(&self) -> Child {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        Command::new(env!("CARGO_BIN_EXE_dask-operator"))
            .args(["run", "--namespace", &self.namespace, "--operator-namespace", &self.namespace])
            .args(["--admin-address", &self.admin.to_string()])
            .args(["--plugin-service-ip", "127.0.0.1", "--scheduler-ip", "127.0.0.1"])
            .arg("--plugin-socket-dir")
            .arg(&self.socket_dir)
            .env("KUBECONFIG", &self.kubeconfig)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}
