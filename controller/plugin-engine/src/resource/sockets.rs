//! The sockets of plugins that run beside the controller: checks that they are sockets, and detects when they appear,
//! disappear or are replaced.
//!
//! Each sidecar has its own directory below that of the controller, and cannot access those of others. So no sidecar
//! can replace the socket of another one and receive its requests and permissions.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use operator_runtime::rejection::Rejection;

use super::{endpoint_change::EndpointChange, reasons::INVALID_ENDPOINT};
use crate::model::key::PluginKey;

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

/// The socket of a plugin, by its path below the directory of sockets.
pub(super) struct PluginSocket {
    pub(super) plugin: PluginKey,
    pub(super) path: String,
}

/// What is at the path of a plugin's socket.
struct SocketSight {
    plugin: PluginKey,
    path: String,
    sight: Sight,
}

/// A plugin whose socket changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketChange {
    pub(super) plugin: PluginKey,
    pub(super) change: EndpointChange,
}

/// The directory of the sockets, and their last known state.
pub(crate) struct Sockets {
    dir: PathBuf,
    memory: Mutex<SocketStates>,
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

    /// Examines the socket of each plugin. Returns the plugins whose socket changed since the last call.
    pub(super) fn changes(&self, plugins: Vec<PluginSocket>) -> Vec<SocketChange> {
        let look = |PluginSocket { plugin, path }: PluginSocket| {
            let sight = look(&self.dir.join(&path));
            SocketSight { plugin, path, sight }
        };
        let sights = plugins.into_iter().map(look).collect();
        self.memory().compare(sights)
    }

    fn memory(&self) -> MutexGuard<'_, SocketStates> {
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

/// The last known state of each plugin's socket. Has no side effects.
#[derive(Default)]
struct SocketStates(HashMap<PluginKey, SocketState>);

#[derive(Clone)]
struct SocketState {
    name: String,
    now: Sight,
    /// The last socket that existed, even if it is gone.
    last: Option<SocketId>,
}

impl SocketStates {
    /// Records the state before the plugin is connected to for the first time.
    fn first_sight(&mut self, key: PluginKey, name: &str, now: Sight) {
        let seen = SocketState { name: name.to_owned(), now, last: now.socket() };
        let known = self.0.entry(key).or_insert_with(|| seen.clone());
        if known.name != name {
            *known = seen;
        }
    }

    /// Updates the states of all plugins' sockets and returns the changes. The first state of a plugin is no change,
    /// because the plugin is discovered anyway.
    fn compare(&mut self, sights: Vec<SocketSight>) -> Vec<SocketChange> {
        let mut before = std::mem::take(&mut self.0);
        let mut all = Vec::new();
        for SocketSight { plugin, path: name, sight: now } in sights {
            let old = before.remove(&plugin).filter(|old| old.name == name);
            let last = old.as_ref().and_then(|old| old.last);
            let id = now.socket();
            if old.is_some_and(|old| old.now != now) {
                let replaced = id.is_some() && last.is_some() && id != last;
                let change = EndpointChange { reconnect: true, replaced };
                all.push(SocketChange { plugin: plugin.clone(), change });
            }
            self.0.insert(plugin, SocketState { name, now, last: id.or(last) });
        }
        all
    }
}

#[cfg(test)]
mod tests;
