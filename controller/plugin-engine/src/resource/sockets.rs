//! Watches the sockets of plugins that run beside the controller: checks that they are sockets, and detects when they
//! appear, disappear or are replaced.
//!
//! Each sidecar has its own directory below that of the controller, and cannot access those of others. So no sidecar
//! can replace the socket of another one and receive its requests and permissions.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use operator_runtime::{leader::Leading, rejection::Rejection};
use tokio::time::MissedTickBehavior;

use super::{EndpointChange, trigger::ProbeTrigger};
use crate::model::key::{PluginKey, key_of};

/// The reason of refusals.
pub(crate) const INVALID_ENDPOINT: &str = "InvalidEndpoint";
/// How often the sockets are checked. A check is one system call per socket, and works on every file system.
const PERIOD: Duration = Duration::from_secs(1);

/// The longest path of a socket that Linux connects to, in bytes.
const MAX_PATH: usize = 107;

/// Returns the path below the directory of sockets that `endpoint.socket` of `plugin` names: `{directory}/{file}`, or a
/// file in the directory with the plugin's name. Returns `None` for other values, which might lead elsewhere.
pub(crate) fn path_below(plugin: &str, socket: &str) -> Option<String> {
    let (directory, file) = socket.split_once('/').unwrap_or((plugin, socket));
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('/');
    (is_plain(directory) && is_plain(file)).then(|| format!("{directory}/{file}"))
}

/// The kind of file that a socket's path refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Absent,
    /// A file that the controller does not connect to.
    Other,
    Socket(SocketId),
}

/// The identity of a socket, which differs from that of a later socket at the same path. Inode numbers are reused;
/// change times are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SocketId {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// The directory of the sockets, and their last known state.
pub(crate) struct Sockets {
    dir: PathBuf,
    memory: Mutex<Memory>,
}

impl Sockets {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), memory: Mutex::default() }
    }

    /// Returns the path of the plugin's socket, and starts to track its changes. The socket need not exist yet, but an
    /// existing file must be a socket itself and not a link to one elsewhere.
    pub(crate) fn find(&self, key: PluginKey, name: &str) -> Result<PathBuf, Rejection> {
        let path = self.dir.join(name);
        self.memory().first_sight(key, name, look(&path));
        match refusal(&path) {
            Some(message) => Err(Rejection::new(INVALID_ENDPOINT, message)),
            None => Ok(path),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(path: &Path) -> Option<String> {
    if path.as_os_str().len() > MAX_PATH {
        let path = path.display();
        return Some(format!(
            "endpoint.socket: the path {path} is longer than the {MAX_PATH} bytes that a socket may have"
        ));
    }
    if let Some(directory) = path.parent().filter(|directory| directory.is_symlink()) {
        return Some(format!("endpoint.socket: {} is a symbolic link", directory.display()));
    }
    let kind = match fs::symlink_metadata(path).map(|found| found.file_type()) {
        Ok(kind) if kind.is_symlink() => "a symbolic link",
        Ok(kind) if kind.is_dir() => "a directory",
        Ok(kind) if !kind.is_socket() => "no socket",
        _ => return None,
    };
    Some(format!("endpoint.socket: {} is {kind}", path.display()))
}

impl Sight {
    fn socket(self) -> Option<SocketId> {
        if let Self::Socket(id) = self { Some(id) } else { None }
    }
}

fn look(path: &Path) -> Sight {
    if path.parent().is_some_and(Path::is_symlink) {
        return Sight::Other;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Sight::Socket(SocketId {
            device: found.dev(),
            inode: found.ino(),
            changed: (found.ctime(), found.ctime_nsec()),
        }),
        Ok(_) => Sight::Other,
        Err(_) => Sight::Absent,
    }
}

/// Discovers plugins again whose sockets appear, disappear or are replaced.
pub(crate) async fn follow(waker: ProbeTrigger, _: Leading) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sockets = &waker.0.sockets;
    loop {
        ticks.tick().await;
        let mut sights = Vec::new();
        for plugin in waker.0.plugins.all() {
            let Some(socket) = &plugin.spec.endpoint.socket else { continue };
            let key = key_of(&plugin);
            // Paths that may lead elsewhere are refused, and must not be examined either.
            if let Some(path) = path_below(&key.name, socket) {
                let sight = look(&sockets.dir.join(&path));
                sights.push((key, path, sight));
            }
        }
        let changes = sockets.memory().compare(sights);
        for (key, change) in changes {
            tracing::info!(plugin = key.name, replaced = change.replaced, "a plugin's socket changed");
            waker.wake(&key, change);
        }
    }
}

/// The last known state of each plugin's socket. Has no side effects.
#[derive(Default)]
struct Memory(HashMap<PluginKey, Seen>);

#[derive(Clone)]
struct Seen {
    name: String,
    now: Sight,
    /// The last socket that existed, even if it is gone.
    last: Option<SocketId>,
}

impl Memory {
    /// Records the state before the plugin is connected to for the first time.
    fn first_sight(&mut self, key: PluginKey, name: &str, now: Sight) {
        let seen = Seen { name: name.to_owned(), now, last: now.socket() };
        let known = self.0.entry(key).or_insert_with(|| seen.clone());
        if known.name != name {
            *known = seen;
        }
    }

    /// Updates the states of all plugins' sockets and returns the changes. The first state of a plugin is no change,
    /// because the plugin is discovered anyway.
    fn compare(&mut self, sights: Vec<(PluginKey, String, Sight)>) -> Vec<(PluginKey, EndpointChange)> {
        let mut before = std::mem::take(&mut self.0);
        let mut all = Vec::new();
        for (key, name, now) in sights {
            let old = before.remove(&key).filter(|old| old.name == name);
            let last = old.as_ref().and_then(|old| old.last);
            let id = now.socket();
            if old.is_some_and(|old| old.now != now) {
                let replaced = id.is_some() && last.is_some() && id != last;
                all.push((key.clone(), EndpointChange { reconnect: true, replaced }));
            }
            self.0.insert(key, Seen { name, now, last: id.or(last) });
        }
        all
    }
}

#[cfg(test)]
mod tests;
