//! Tests of how changes of sockets are detected.

use std::os::unix::{fs::symlink, net::UnixListener};

use super::*;

const CHANGED: EndpointChange = EndpointChange { reconnect: true, replaced: false };
const REPLACED: EndpointChange = EndpointChange { reconnect: true, replaced: true };

fn key(name: &str) -> PluginKey {
    PluginKey { namespace: "ns".to_owned(), name: name.to_owned() }
}

fn socket(inode: u64, changed: i64) -> Sight {
    Sight::Socket(SocketId { device: 1, inode, changed: (changed, 0) })
}

fn sight(path: &str, sight: Sight) -> SocketSight {
    SocketSight { plugin: key("a"), path: path.to_owned(), sight }
}

fn compare(states: &mut SocketStates, now: Sight) -> Option<EndpointChange> {
    states.compare(vec![sight("a.sock", now)]).pop().map(|found| found.change)
}

#[test]
fn each_change_of_a_socket_is_reported_once() {
    let table = [
        (Sight::Absent, None),
        (socket(1, 1), Some(CHANGED)),
        (socket(1, 1), None),
        (socket(2, 2), Some(REPLACED)),
        // The inode number was reused immediately.
        (socket(2, 3), Some(REPLACED)),
        (Sight::Absent, Some(CHANGED)),
        (Sight::Absent, None),
        (socket(2, 4), Some(REPLACED)),
        (Sight::Other, Some(CHANGED)),
        (Sight::Other, None),
        // The same socket, moved away and back.
        (socket(2, 4), Some(CHANGED)),
    ];
    let mut states = SocketStates::default();
    for (step, (sight, change)) in table.into_iter().enumerate() {
        assert_eq!(compare(&mut states, sight), change, "step {step}: {sight:?}");
    }
}

#[test]
fn the_first_state_of_a_socket_is_no_change() {
    let mut states = SocketStates::default();
    assert_eq!(compare(&mut states, socket(1, 1)), None);
    assert_eq!(states.compare(vec![sight("b.sock", socket(2, 2))]), []);
}

#[test]
fn the_state_of_a_plugin_that_is_gone_is_forgotten() {
    let mut states = SocketStates::default();
    states.first_sight(key("a"), "a.sock", socket(1, 1));
    assert_eq!(states.compare(Vec::new()), []);
    assert!(states.0.is_empty());
}

/// A plugin may be restarted within a second of its first call.
#[test]
fn a_socket_that_exists_at_the_first_probe_is_known() {
    let mut states = SocketStates::default();
    states.first_sight(key("a"), "a.sock", socket(1, 1));
    states.first_sight(key("a"), "a.sock", socket(2, 2));
    assert_eq!(compare(&mut states, socket(2, 2)), Some(REPLACED));
    states.first_sight(key("a"), "b.sock", Sight::Absent);
    let changed = SocketChange { plugin: key("a"), change: CHANGED };
    assert_eq!(states.compare(vec![sight("b.sock", socket(3, 3))]), [changed]);
}

#[test]
fn each_plugin_has_its_socket_in_the_directory_of_one_sidecar() {
    assert_eq!(path_below("ingress", "a.sock").as_deref(), Some("ingress/a.sock"));
    assert_eq!(path_below("ingress", "other/a.sock").as_deref(), Some("other/a.sock"));
    for elsewhere in
        ["", "/", "/a.sock", "a/", "..", "../a.sock", "a/..", "a/../b/c.sock", "a/b/c.sock", ".a/b", "a/.b"]
    {
        assert_eq!(path_below("ingress", elsewhere), None, "{elsewhere}");
    }
}

#[test]
fn a_link_to_another_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("theirs")).unwrap();
    let _theirs = UnixListener::bind(dir.path().join("theirs/a.sock")).unwrap();
    symlink(dir.path().join("theirs"), dir.path().join("mine")).unwrap();
    let sockets = Sockets::new(dir.path());
    assert!(sockets.find(key("a"), "theirs/a.sock").is_ok());
    let refusal = sockets.find(key("a"), "mine/a.sock").unwrap_err();
    assert!(refusal.message.ends_with("mine is a symbolic link"), "{}", refusal.message);
    assert_eq!(look(&dir.path().join("mine/a.sock")), Sight::Other);
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("theirs")).unwrap();
    let sockets = Sockets::new(dir.path());
    let refusal = sockets.find(key("a"), &format!("theirs/{}", "a".repeat(100))).unwrap_err();
    assert!(refusal.message.ends_with("the 107 bytes that a socket may have"), "{}", refusal.message);
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
fn a_socket_that_replaces_another_one_is_recognized() {
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
