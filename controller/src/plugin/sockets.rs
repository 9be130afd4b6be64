//! Sockets of plugins that run beside the controller: whether they are sockets, and when they come, go or are
//! replaced.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use super::{
    registry::PluginKey,
    resource::{News, key_of},
    waker::Waker,
};
use crate::invalid::Invalid;

/// The reason of refusals.
pub(super) const INVALID_ENDPOINT: &str = "InvalidEndpoint";
/// How often the sockets are looked at. That costs one system call each, and works on every file system.
const PERIOD: Duration = Duration::from_secs(1);

/// What stands under a socket's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Absent,
    /// Something that is not connected to.
    Other,
    Socket(SocketId),
}

/// Tells a socket from the next one of that name. Inode numbers are used again; times of change are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SocketId {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// The directory of the sockets, and what was seen there.
pub(super) struct Sockets {
    dir: PathBuf,
    memory: Mutex<Memory>,
}

impl Sockets {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), memory: Mutex::default() }
    }

    /// The path of the plugin's socket. It may not be there yet; what is there must be a socket itself, and no way
    /// to one elsewhere. What happens to it from now on is noticed.
    pub(super) fn find(&self, key: PluginKey, name: &str) -> Result<PathBuf, Invalid> {
        let path = self.dir.join(name);
        self.memory().first_sight(key, name, look(&path));
        match refusal(&path) {
            Some(message) => Err(Invalid::new(INVALID_ENDPOINT, message)),
            None => Ok(path),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(path: &Path) -> Option<String> {
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

/// Has plugins asked again whose sockets come, go or are replaced.
pub(super) async fn follow(waker: Waker) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sockets = &waker.context.sockets;
    loop {
        ticks.tick().await;
        let mut sights = Vec::new();
        for plugin in waker.context.plugins.all() {
            let Some(name) = &plugin.spec.endpoint.socket else { continue };
            // What is not a plain name is refused, and must not be looked at either.
            if !name.contains('/') && !name.starts_with('.') {
                let sight = look(&sockets.dir.join(name));
                sights.push((key_of(&plugin), name.clone(), sight));
            }
        }
        let changes = sockets.memory().compare(sights);
        for (key, news) in changes {
            tracing::info!(plugin = key.name, replaced = news.replaced, "a plugin's socket changed");
            waker.wake(&key, news);
        }
    }
}

/// What was seen last, by plugin; pure.
#[derive(Default)]
struct Memory(HashMap<PluginKey, Seen>);

#[derive(Clone)]
struct Seen {
    name: String,
    now: Sight,
    /// The last socket that there was.
    last: Option<SocketId>,
}

impl Memory {
    /// What stands there before the plugin is connected to for the first time.
    fn first_sight(&mut self, key: PluginKey, name: &str, now: Sight) {
        let seen = Seen { name: name.to_owned(), now, last: now.socket() };
        let known = self.0.entry(key).or_insert_with(|| seen.clone());
        if known.name != name {
            *known = seen;
        }
    }

    /// Takes in what is seen now of all plugins; what is new. A plugin's first sight is not: it is discovered anyway.
    fn compare(&mut self, sights: Vec<(PluginKey, String, Sight)>) -> Vec<(PluginKey, News)> {
        let mut before = std::mem::take(&mut self.0);
        let mut all = Vec::new();
        for (key, name, now) in sights {
            let old = before.remove(&key).filter(|old| old.name == name);
            let last = old.as_ref().and_then(|old| old.last);
            let id = now.socket();
            if old.is_some_and(|old| old.now != now) {
                let replaced = id.is_some() && last.is_some() && id != last;
                all.push((key.clone(), News { reconnect: true, replaced }));
            }
            self.0.insert(key, Seen { name, now, last: id.or(last) });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    const CHANGED: News = News { reconnect: true, replaced: false };
    const REPLACED: News = News { reconnect: true, replaced: true };

    fn key(name: &str) -> PluginKey {
        PluginKey { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    fn socket(inode: u64, changed: i64) -> Sight {
        Sight::Socket(SocketId { device: 1, inode, changed: (changed, 0) })
    }

    fn compare(memory: &mut Memory, sight: Sight) -> Option<News> {
        memory.compare(vec![(key("a"), "a.sock".to_owned(), sight)]).pop().map(|(_, news)| news)
    }

    #[test]
    fn a_socket_that_comes_goes_or_is_another_is_news_once() {
        let table = [
            (Sight::Absent, None),
            (socket(1, 1), Some(CHANGED)),
            (socket(1, 1), None),
            (socket(2, 2), Some(REPLACED)),
            // The inode's number is free again at once.
            (socket(2, 3), Some(REPLACED)),
            (Sight::Absent, Some(CHANGED)),
            (Sight::Absent, None),
            (socket(2, 4), Some(REPLACED)),
            (Sight::Other, Some(CHANGED)),
            (Sight::Other, None),
            // The very same one, moved away and back.
            (socket(2, 4), Some(CHANGED)),
        ];
        let mut memory = Memory::default();
        for (step, (sight, news)) in table.into_iter().enumerate() {
            assert_eq!(compare(&mut memory, sight), news, "step {step}: {sight:?}");
        }
    }

    #[test]
    fn the_first_sight_and_another_name_are_no_news_and_who_is_gone_is_forgotten() {
        let mut memory = Memory::default();
        assert_eq!(compare(&mut memory, socket(1, 1)), None);
        assert_eq!(memory.compare(vec![(key("a"), "b.sock".to_owned(), socket(2, 2))]), []);
        assert_eq!(memory.compare(Vec::new()), []);
        assert!(memory.0.is_empty());
    }

    /// A plugin may be restarted within a second of its first call.
    #[test]
    fn what_was_there_at_the_first_probe_counts_as_seen() {
        let mut memory = Memory::default();
        memory.first_sight(key("a"), "a.sock", socket(1, 1));
        memory.first_sight(key("a"), "a.sock", socket(2, 2));
        assert_eq!(compare(&mut memory, socket(2, 2)), Some(REPLACED));
        memory.first_sight(key("a"), "b.sock", Sight::Absent);
        let sight = (key("a"), "b.sock".to_owned(), socket(3, 3));
        assert_eq!(memory.compare(vec![sight]), [(key("a"), CHANGED)]);
    }

    #[test]
    fn only_what_is_a_socket_itself_is_connected_to() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let _theirs = UnixListener::bind(elsewhere.path().join("theirs.sock")).unwrap();
        let _ours = UnixListener::bind(dir.path().join("ours.sock")).unwrap();
        symlink(elsewhere.path().join("theirs.sock"), dir.path().join("out.sock")).unwrap();
        symlink(dir.path().join("ours.sock"), dir.path().join("in.sock")).unwrap();
        symlink(dir.path().join("nothing"), dir.path().join("dangling.sock")).unwrap();
        fs::create_dir(dir.path().join("dir.sock")).unwrap();
        fs::write(dir.path().join("file.sock"), "").unwrap();
        let sockets = Sockets::new(dir.path());
        let table = [
            ("ours.sock", None),
            ("absent.sock", None),
            ("out.sock", Some("a symbolic link")),
            ("in.sock", Some("a symbolic link")),
            ("dangling.sock", Some("a symbolic link")),
            ("dir.sock", Some("a directory")),
            ("file.sock", Some("no socket")),
        ];
        for (name, refused) in table {
            let found = sockets.find(key(name), name);
            let sight = look(&dir.path().join(name));
            match refused {
                None => assert_eq!(found.unwrap(), dir.path().join(name)),
                Some(words) => {
                    let refusal = found.unwrap_err();
                    assert_eq!(refusal.reason, INVALID_ENDPOINT);
                    assert!(refusal.message.ends_with(words), "{}", refusal.message);
                    assert_eq!(sight, Sight::Other, "{name}");
                }
            }
        }
    }

    #[test]
    fn a_socket_in_the_place_of_another_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        assert_eq!(look(&path), Sight::Absent);
        let _first = UnixListener::bind(&path).unwrap();
        let first = look(&path);
        assert_eq!(look(&path), first);
        fs::remove_file(&path).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        assert_ne!(look(&path), first);
    }
}
