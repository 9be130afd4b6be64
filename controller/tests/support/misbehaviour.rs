//! What plugins can do wrong, and what a user is to see of it.

use serde_json::{Value, json};

use super::{
    faulty_plugin::{Asked, Deed, Way, discovery, good_child, http, ok, review, success},
    identities::Identity,
};

/// An object in the namespace that is nobody's child.
pub(crate) const VICTIM: &str = "victim";
/// A plugin that does not sin.
pub(crate) const GOOD: &str = "good";

/// One sin.
pub(crate) struct Sin {
    /// Also the plugin's name.
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    pub(crate) seen: Seen,
}

/// What the status of the plugin shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    /// A failure of the subject: reason, and a part of the message.
    Failing(&'static str, &'static str),
    /// A failure of the subject: too much, or, where a busy machine takes it in slowly, too late.
    Flooded,
    /// The plugin is not ready: reason, and a part of the message.
    NotReady(&'static str, &'static str),
    /// Nothing is wrong: what it does is harmless, or made so.
    Synced,
    /// Neither synced nor failing.
    Waiting,
}

use Seen::{Failing, Flooded, NotReady, Synced, Waiting};

/// All sins.
pub(crate) fn all() -> Vec<Sin> {
    let answers = [transport(), status_codes(), bodies(), envelopes(), children(), takings(), sizes_and_names()];
    let answers = answers.into_iter().chain([metadata(), rest()]).flatten();
    let answers = answers.map(|(name, act, seen)| Sin { name, way: Way::Answer(act), seen });
    let discoveries = discoveries().into_iter();
    let discoveries = discoveries.map(|(name, act, seen)| Sin { name, way: Way::Discovery(act), seen });
    let identities = [
        ("expired", Identity::Expired, "certificate has expired"),
        ("foreign", Identity::Foreign, "of an authority that is not trusted"),
        ("stolen", Identity::Stolen(GOOD), "certificate not valid for name"),
        ("no-tls", Identity::None, "corrupt message"),
        ("no-handshake", Identity::Mute, "did not answer in time"),
    ];
    let identities = identities.into_iter().map(|(name, identity, word)| Sin {
        name,
        way: Way::Identity(identity),
        seen: Failing("Unreachable", word),
    });
    let reset = Sin { name: "resets", way: Way::Reset, seen: Failing("Unreachable", "talk to the plugin") };
    answers.chain(discoveries).chain(identities).chain([reset]).collect()
}

type Rows = Vec<(&'static str, fn(&Asked) -> Deed, Seen)>;

pub(crate) const TOO_LARGE: Seen = Failing("ProtocolError", "more than 2097152 bytes");
pub(crate) const TOO_LATE: Seen = Failing("Unreachable", "in time");
const LATE: Seen = Failing("Unreachable", "did not answer in time");

fn not_json(word: &'static str) -> Seen {
    Failing("ProtocolError", word)
}

fn chunk() -> Vec<u8> {
    vec![b' '; 64 * 1024]
}

fn flood(head: &str) -> Deed {
    Deed::Flood(format!("HTTP/1.1 {head}\r\n\r\n").into_bytes(), chunk())
}

fn transport() -> Rows {
    vec![
        ("hangs", |_| Deed::Hang, LATE),
        ("drips", |_| Deed::Drip(vec![], b"HTTP/1.1 200 OK\r\n".into()), LATE),
        ("drips-body", |_| Deed::Drip(b"HTTP/1.1 200 OK\r\n\r\n".into(), b"{\"apiVersion\"".into()), LATE),
        (
            "cut-short",
            |_| Deed::Say(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"apiVersion\":".into()),
            Failing("Unreachable", "talk to the plugin"),
        ),
        ("not-http", |_| Deed::Say(b"SSH-2.0-OpenSSH_9.9\r\n".into()), Failing("Unreachable", "invalid HTTP")),
        ("endless", |_| flood("200 OK"), Flooded),
        ("claims-10gb", |_| flood("200 OK\r\ncontent-length: 10737418240"), Flooded),
        (
            "endless-head",
            |_| Deed::Flood(b"HTTP/1.1 200 OK\r\nx: ".into(), vec![b'x'; 64 * 1024]),
            Failing("Unreachable", "talk to the plugin"),
        ),
        (
            "bad-chunks",
            |_| Deed::Say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{".into()),
            Failing("Unreachable", "talk to the plugin"),
        ),
        (
            "two-lengths",
            |_| http("200 OK", "content-length: 7\r\n", "{}"),
            Failing("Unreachable", "invalid content-length"),
        ),
        (
            "endless-100",
            |_| Deed::Flood(vec![], b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
            Failing("Unreachable", ""),
        ),
        (
            "closes-kept",
            |asked| match ok(success(asked, vec![]).to_string()) {
                // It promises to keep the connection, and keeps its word at random.
                Deed::Say(bytes) if fastrand::bool() => Deed::Say(kept(&bytes)),
                Deed::Say(bytes) => Deed::SayAndStay(kept(&bytes)),
                other => other,
            },
            Synced,
        ),
        (
            "http-1-0",
            |asked| Deed::Say(format!("HTTP/1.0 200 OK\r\n\r\n{}", success(asked, vec![])).into_bytes()),
            Synced,
        ),
    ]
}

fn kept(bytes: &[u8]) -> Vec<u8> {
    String::from_utf8(bytes.to_vec()).unwrap().replace("connection: close", "connection: keep-alive").into_bytes()
}

fn status_codes() -> Rows {
    const METADATA: &str = "location: http://169.254.169.254/latest/meta-data/iam\r\n";
    let redirect = Failing("ProtocolError", "redirects are not followed");
    let busy = Failing("Busy", "asks for patience");
    vec![
        ("redirect-302", |_| http("302 Found", METADATA, ""), redirect),
        ("redirect-307", |_| http("307 Temporary Redirect", METADATA, ""), redirect),
        ("error-huge", |_| flood("500 Internal Server Error"), Failing("ServerError", "500")),
        ("busy-huge", |_| flood("503 Service Unavailable\r\nretry-after: 600"), busy),
        ("busy-for-ever", |_| http("503 Service Unavailable", "retry-after: 99999999\r\n", ""), busy),
        ("busy-garbage", |_| http("503 Service Unavailable", "retry-after: soon\r\n", ""), busy),
        ("busy-negative", |_| http("429 Too Many Requests", "retry-after: -1\r\n", ""), busy),
        ("busy-overflow", |_| http("503 Busy", "retry-after: 99999999999999999999999\r\n", ""), busy),
        ("busy-zero", |_| http("503 Busy", "retry-after: 0\r\n", ""), busy),
        ("switches", |_| http("101 Switching Protocols", "upgrade: h2c\r\n", ""), Failing("ProtocolError", "101")),
        ("no-content", |_| http("204 No Content", "", ""), Failing("ProtocolError", "204")),
        (
            "accepted",
            |asked| http("202 Accepted", "", review(asked, &json!({"status": "Success", "children": []})).to_string()),
            Failing("ProtocolError", "202"),
        ),
    ]
}

fn bodies() -> Rows {
    vec![
        ("html", |_| http("200 OK", "content-type: text/html\r\n", "<html>It works!</html>"), not_json("not JSON")),
        ("empty", |_| ok(""), not_json("not JSON: EOF")),
        ("gzip", |_| http("200 OK", "content-encoding: gzip\r\n", b"\x1f\x8b\x08\x00\x00"), not_json("not JSON")),
        ("deep", |_| ok("[".repeat(10_000) + &"]".repeat(10_000)), not_json("nested deeper than 64")),
        (
            "deep-100",
            |asked| {
                let deep: Value = serde_json::from_str(&("[".repeat(99) + &"]".repeat(99))).unwrap();
                ok(review(asked, &json!({"status": "Success", "children": [], "x": deep})).to_string())
            },
            not_json("nested deeper than 64"),
        ),
        ("brackets", |_| ok(format!("[{}[]]", "[],".repeat(690_000))), not_json("values and names of fields")),
        ("trailing", |asked| ok(format!("{} x", success(asked, vec![]))), not_json("trailing characters")),
        ("two-reviews", |asked| ok(format!("{0}{0}", success(asked, vec![]))), not_json("trailing characters")),
        (
            "invalid-utf8",
            |asked| {
                let text = success(asked, vec![]).to_string();
                let (before, after) = text.split_once("good").unwrap();
                ok([before.as_bytes(), b"\xff", after.as_bytes()].concat())
            },
            not_json("not JSON: invalid unicode"),
        ),
        (
            "duplicate",
            |asked| ok(success(asked, vec![]).to_string().replace("\"children\":", "\"children\":[],\"children\":")),
            not_json("\"children\" is there twice"),
        ),
        (
            "number",
            |asked| ok(success(asked, vec![]).to_string().replace("\"good\"", "1e999")),
            not_json("number out of range"),
        ),
    ]
}

fn envelopes() -> Rows {
    vec![
        (
            "wrong-uid",
            |asked| {
                let mut review = review(asked, &json!({"status": "Success", "children": []}));
                review["response"]["uid"] = json!("sha256:0");
                ok(review.to_string())
            },
            not_json("another uid"),
        ),
        (
            "no-children",
            |asked| ok(review(asked, &json!({"status": "Success"})).to_string()),
            not_json("without children"),
        ),
        (
            "null-children",
            |asked| ok(review(asked, &json!({"status": "Success", "children": null})).to_string()),
            not_json("without children"),
        ),
        (
            "unknown-field",
            |asked| ok(review(asked, &json!({"status": "Success", "children": [], "childs": []})).to_string()),
            not_json("unknown field `childs`"),
        ),
        (
            "unknown-status",
            |asked| ok(review(asked, &json!({"status": "Sucess", "children": []})).to_string()),
            not_json("unknown variant `Sucess`"),
        ),
        (
            "other-version",
            |asked| {
                let mut review = review(asked, &json!({"status": "Success", "children": []}));
                review["apiVersion"] = json!("plugin.kubernetes.dask.org/v2");
                ok(review.to_string())
            },
            not_json("malformed"),
        ),
        (
            "long-field",
            |asked| ok(review(asked, &json!({"status": "Success", "x".repeat(1_000_000): 1})).to_string()),
            not_json("unknown field"),
        ),
    ]
}

fn config(key: &str, metadata: &Value) -> Value {
    json!({"key": key, "manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}})
}

fn named(key: &str, name: &str) -> Value {
    config(key, &json!({"name": name}))
}

fn kind(api_version: &str, kind: &str) -> Value {
    json!({"key": "bad", "manifest": {"apiVersion": api_version, "kind": kind, "metadata": {"name": "bad"}}})
}

fn with(asked: &Asked, child: Value) -> Deed {
    ok(success(asked, vec![child]).to_string())
}

fn children() -> Rows {
    vec![
        (
            "cluster-scoped",
            |asked| with(asked, kind("v1", "PersistentVolume")),
            Failing("KindNotAllowed", "PersistentVolume"),
        ),
        ("makes-namespace", |asked| with(asked, kind("v1", "Namespace")), Failing("KindDenied", "Namespace")),
        ("not-allowed", |asked| with(asked, kind("v1", "Secret")), Failing("KindNotAllowed", "Secret")),
        (
            "role-binding",
            |asked| with(asked, kind("rbac.authorization.k8s.io/v1", "RoleBinding")),
            Failing("KindDenied", "RoleBinding"),
        ),
        ("kind-list", |asked| with(asked, kind("v1", "List")), Failing("KindNotAllowed", "v1 List")),
        ("kind-path", |asked| with(asked, kind("v1/../v1", "ConfigMap")), Failing("KindNotAllowed", "v1/../v1")),
    ]
}

fn takings() -> Rows {
    vec![
        (
            "claims-child",
            |asked| {
                let name = format!("demo-scheduler-{GOOD}-config");
                let labels = json!({"plugin.kubernetes.dask.org/plugin": GOOD});
                with(asked, config("bad", &json!({"name": name, "labels": labels})))
            },
            Failing("Conflict", "held by the plugin good"),
        ),
        (
            "takes-service",
            |asked| {
                let mut service = kind("v1", "Service");
                service["manifest"]["metadata"]["name"] = json!(asked.subject());
                with(asked, service)
            },
            Failing("Conflict", "Service demo-scheduler exists and is not the plugin's"),
        ),
        ("takes-victim", |asked| with(asked, named("bad", VICTIM)), Failing("Conflict", "adopt=takes-victim")),
        (
            "adopts-victim",
            |asked| {
                let leave = json!({"plugin.kubernetes.dask.org/adopt": "adopts-victim"});
                with(asked, config("bad", &json!({"name": VICTIM, "annotations": leave})))
            },
            Failing("Conflict", "adopt=adopts-victim"),
        ),
        (
            "one-name",
            // The same name for each subject: the second does not get it.
            |asked| with(asked, named("shared", "one-name")),
            Failing("Conflict", "held for another subject"),
        ),
    ]
}

fn sizes_and_names() -> Rows {
    let invalid = |word| Failing("InvalidManifest", word);
    vec![
        (
            "many",
            |asked| ok(success(asked, (0..1_000).map(|n| config(&format!("c{n}"), &json!({}))).collect()).to_string()),
            Failing("TooManyChildren", "64 children"),
        ),
        (
            "child-10mb",
            |asked| with(asked, config("big", &json!({"annotations": {"a": "x".repeat(10_000_000)}}))),
            Flooded,
        ),
        (
            "child-300k",
            |asked| with(asked, config("big", &json!({"annotations": {"a": "x".repeat(300_000)}}))),
            Failing("TooLarge", "may have 262144"),
        ),
        ("key-slash", |asked| with(asked, config("a/b", &json!({}))), Failing("InvalidKey", "a/b")),
        ("key-long", |asked| with(asked, config(&"k".repeat(200), &json!({}))), Failing("InvalidKey", "kkkk")),
        ("key-twice", |asked| with(asked, good_child()), Failing("DuplicateKey", "config")),
        ("name-dots", |asked| with(asked, named("bad", "..")), invalid("metadata.name")),
        ("name-path", |asked| with(asked, named("bad", "../secrets/x")), invalid("metadata.name")),
        ("name-upper", |asked| with(asked, named("bad", "Upper")), invalid("metadata.name")),
        ("name-escape", |asked| with(asked, named("bad", "a%2fb")), invalid("metadata.name")),
        ("name-number", |asked| with(asked, config("bad", &json!({"name": 1}))), invalid("metadata.name")),
        ("manifest-null", |asked| with(asked, json!({"key": "bad", "manifest": null})), invalid("not an object")),
        (
            "manifest-list",
            |asked| with(asked, json!({"key": "bad", "manifest": [good_child()]})),
            invalid("not an object"),
        ),
    ]
}

fn metadata() -> Rows {
    vec![
        (
            "namespace",
            |asked| {
                with(
                    asked,
                    config("moved", &json!({"name": format!("moved-{}", asked.subject()), "namespace": "kube-system"})),
                )
            },
            Synced,
        ),
        (
            "forged-owner",
            |asked| {
                let owner =
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": VICTIM, "uid": "1", "controller": true});
                with(asked, config("forged", &json!({"ownerReferences": [owner], "finalizers": ["example.com/never"]})))
            },
            Synced,
        ),
        (
            "annotations-list",
            |asked| with(asked, config("bad", &json!({"annotations": []}))),
            Failing("InvalidManifest", "metadata.annotations"),
        ),
        (
            "labels-text",
            |asked| with(asked, config("bad", &json!({"labels": "a=b"}))),
            Failing("InvalidManifest", "metadata.labels"),
        ),
        ("labels-number", |asked| with(asked, config("bad", &json!({"labels": {"a": 1}}))), Failing("Invalid", "")),
        ("metadata-list", |asked| with(asked, config("bad", &json!([]))), Failing("InvalidManifest", "metadata")),
        ("unknown-meta", |asked| with(asked, config("bad", &json!({"nmae": "x"}))), Failing("Invalid", "nmae")),
    ]
}

fn rest() -> Rows {
    vec![
        (
            "random",
            |asked| with(asked, config("dice", &json!({"annotations": {"dice": fastrand::u64(..).to_string()}}))),
            Synced,
        ),
        (
            "conditions",
            |asked| {
                let condition = json!({"type": "A", "status": "True", "reason": "B", "message": "c"});
                let mut review = success(asked, vec![]);
                review["response"]["conditions"] = json!(vec![condition; 5_000]);
                ok(review.to_string())
            },
            Synced,
        ),
        (
            "long-message",
            |asked| {
                ok(review(asked, &json!({"status": "Failure", "reason": "No", "message": "m".repeat(1_000_000)}))
                    .to_string())
            },
            Failing("PluginFailure", "No: mmm"),
        ),
        (
            "long-reason",
            |asked| ok(review(asked, &json!({"status": "Failure", "reason": "r".repeat(1_000_000)})).to_string()),
            Failing("PluginFailure", "rrr"),
        ),
        ("resync-max", |asked| ok(resync(asked, &json!(u32::MAX))), Synced),
        ("resync-huge", |asked| ok(resync(asked, &json!(10_000_000_000_u64))), not_json("malformed")),
        ("resync-negative", |asked| ok(resync(asked, &json!(-1))), not_json("malformed")),
        ("resync-1", |asked| ok(resync(asked, &json!(1))), Synced),
        ("pending", |asked| ok(review(asked, &json!({"status": "Pending"})).to_string()), Waiting),
    ]
}

fn resync(asked: &Asked, seconds: &Value) -> String {
    let mut review = success(asked, vec![]);
    review["response"]["resyncAfterSeconds"] = seconds.clone();
    review.to_string()
}

fn said(field: &str, value: Value) -> Deed {
    let mut said = discovery();
    said[field] = value;
    ok(said.to_string())
}

fn discoveries() -> Rows {
    let wrong = |word| NotReady("ProtocolError", word);
    vec![
        ("d-garbage", |_| ok("{\"hello\": "), wrong("not JSON")),
        ("d-html", |_| ok("<html>"), wrong("not JSON")),
        ("d-hangs", |_| Deed::Hang, NotReady("Unreachable", "in time")),
        ("d-redirect", |_| http("302 Found", "location: http://169.254.169.254/\r\n", ""), wrong("redirects")),
        ("d-endless", |_| flood("200 OK"), wrong("more than 65536 bytes")),
        ("d-version", |_| said("protocolVersions", json!(["v9"])), NotReady("VersionMismatch", "v9")),
        ("d-long", |_| said("version", json!("1".repeat(50_000))), wrong("longer than 128")),
        ("d-many", |_| said("protocolVersions", json!(vec!["v9"; 1_000])), wrong("longer than 128")),
        ("d-many-hooks", |_| said("hooks", json!(vec!["Sync"; 200_000])), wrong("more than 65536 bytes")),
        // With each call another version.
        ("d-flips", |asked| said("version", json!(asked.before.to_string())), Synced),
    ]
}
