//! A table of what a plugin can do wrong, and of what its status must then show.

use serde_json::{Value, json};

use super::{
    faulty_plugin::{FaultMode, ReceivedCall, Reply, discovery, good_child, http, ok, review, success},
    identities::Identity,
};

/// An object in the namespace that no plugin owns.
pub(crate) const VICTIM: &str = "victim";
/// The name of a plugin that behaves well.
pub(crate) const GOOD: &str = "good";

/// One way to misbehave.
pub(crate) struct Misbehaviour {
    /// Also the plugin's name.
    pub(crate) name: &'static str,
    pub(crate) mode: FaultMode,
    pub(crate) expected: Expected,
}

/// What the plugin's status must show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// A failure of the subject: reason, and a part of the message.
    Failing(&'static str, &'static str),
    /// A failure of the subject: the response is too large, or too late where a busy machine reads it slowly.
    Flooded,
    /// The plugin is not ready: reason, and a part of the message.
    NotReady(&'static str, &'static str),
    /// No failure: the misbehaviour is harmless, or the controller corrects it.
    Synced,
    /// Neither synced nor failing.
    Waiting,
}

use Expected::{Failing, Flooded, NotReady, Synced, Waiting};

/// Returns every misbehaviour.
pub(crate) fn all() -> Vec<Misbehaviour> {
    let answers =
        [transport(), status_codes(), bodies(), envelopes(), children(), names_of_others(), sizes_and_names()];
    let answers = answers.into_iter().chain([metadata(), rest()]).flatten();
    let answers = answers.map(|(name, act, expected)| Misbehaviour { name, mode: FaultMode::Answer(act), expected });
    let discoveries = discoveries().into_iter();
    let discoveries =
        discoveries.map(|(name, act, expected)| Misbehaviour { name, mode: FaultMode::Discovery(act), expected });
    let identities = [
        ("expired", Identity::Expired, "certificate has expired"),
        ("foreign", Identity::Foreign, "by an authority that is not trusted"),
        ("stolen", Identity::Stolen(GOOD), "certificate not valid for name"),
        ("no-tls", Identity::None, "corrupt message"),
        ("no-handshake", Identity::Mute, "did not respond in time"),
    ];
    let identities = identities.into_iter().map(|(name, identity, word)| Misbehaviour {
        name,
        mode: FaultMode::Identity(identity),
        expected: Failing("Unreachable", word),
    });
    let reset =
        Misbehaviour { name: "resets", mode: FaultMode::Reset, expected: Failing("Unreachable", "talk to the plugin") };
    answers.chain(discoveries).chain(identities).chain([reset]).collect()
}

type Rows = Vec<(&'static str, fn(&ReceivedCall) -> Reply, Expected)>;

pub(crate) const TOO_LARGE: Expected = Failing("ProtocolError", "more than 2097152 bytes");
pub(crate) const TOO_LATE: Expected = Failing("Unreachable", "in time");
const LATE: Expected = Failing("Unreachable", "did not respond in time");

fn not_json(word: &'static str) -> Expected {
    Failing("ProtocolError", word)
}

fn chunk() -> Vec<u8> {
    vec![b' '; 64 * 1024]
}

fn flood(head: &str) -> Reply {
    Reply::Flood(format!("HTTP/1.1 {head}\r\n\r\n").into_bytes(), chunk())
}

fn transport() -> Rows {
    vec![
        ("hangs", |_| Reply::Hang, LATE),
        ("drips", |_| Reply::Drip(vec![], b"HTTP/1.1 200 OK\r\n".into()), LATE),
        ("drips-body", |_| Reply::Drip(b"HTTP/1.1 200 OK\r\n\r\n".into(), b"{\"apiVersion\"".into()), LATE),
        (
            "cut-short",
            |_| Reply::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"apiVersion\":".into()),
            Failing("Unreachable", "talk to the plugin"),
        ),
        ("not-http", |_| Reply::Send(b"SSH-2.0-OpenSSH_9.9\r\n".into()), Failing("Unreachable", "invalid HTTP")),
        ("endless", |_| flood("200 OK"), Flooded),
        ("claims-10gb", |_| flood("200 OK\r\ncontent-length: 10737418240"), Flooded),
        (
            "endless-head",
            |_| Reply::Flood(b"HTTP/1.1 200 OK\r\nx: ".into(), vec![b'x'; 64 * 1024]),
            Failing("Unreachable", "talk to the plugin"),
        ),
        (
            "bad-chunks",
            |_| Reply::Send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{".into()),
            Failing("Unreachable", "talk to the plugin"),
        ),
        (
            "two-lengths",
            |_| http("200 OK", "content-length: 7\r\n", "{}"),
            Failing("Unreachable", "invalid content-length"),
        ),
        (
            "endless-100",
            |_| Reply::Flood(vec![], b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
            Failing("Unreachable", ""),
        ),
        (
            "closes-kept",
            |call| match ok(success(call, vec![]).to_string()) {
                // It promises to keep the connection open, and does so only sometimes.
                Reply::Send(bytes) if fastrand::bool() => Reply::Send(kept(&bytes)),
                Reply::Send(bytes) => Reply::SendAndKeepOpen(kept(&bytes)),
                other => other,
            },
            Synced,
        ),
        (
            "http-1-0",
            |call| Reply::Send(format!("HTTP/1.0 200 OK\r\n\r\n{}", success(call, vec![])).into_bytes()),
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
    let busy = Failing("Busy", "asks the controller to wait");
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
            |call| http("202 Accepted", "", review(call, &json!({"status": "Success", "children": []})).to_string()),
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
            |call| {
                let deep: Value = serde_json::from_str(&("[".repeat(99) + &"]".repeat(99))).unwrap();
                ok(review(call, &json!({"status": "Success", "children": [], "x": deep})).to_string())
            },
            not_json("nested deeper than 64"),
        ),
        ("brackets", |_| ok(format!("[{}[]]", "[],".repeat(690_000))), not_json("values and names of fields")),
        ("trailing", |call| ok(format!("{} x", success(call, vec![]))), not_json("trailing characters")),
        ("two-reviews", |call| ok(format!("{0}{0}", success(call, vec![]))), not_json("trailing characters")),
        (
            "invalid-utf8",
            |call| {
                let text = success(call, vec![]).to_string();
                let (before, after) = text.split_once("good").unwrap();
                ok([before.as_bytes(), b"\xff", after.as_bytes()].concat())
            },
            not_json("not JSON: invalid unicode"),
        ),
        (
            "duplicate",
            |call| ok(success(call, vec![]).to_string().replace("\"children\":", "\"children\":[],\"children\":")),
            not_json("\"children\" occurs twice"),
        ),
        (
            "number",
            |call| ok(success(call, vec![]).to_string().replace("\"good\"", "1e999")),
            not_json("number out of range"),
        ),
    ]
}

fn envelopes() -> Rows {
    vec![
        (
            "wrong-uid",
            |call| {
                let mut review = review(call, &json!({"status": "Success", "children": []}));
                review["response"]["uid"] = json!("sha256:0");
                ok(review.to_string())
            },
            not_json("a different uid"),
        ),
        ("no-children", |call| ok(review(call, &json!({"status": "Success"})).to_string()), not_json("no children")),
        (
            "null-children",
            |call| ok(review(call, &json!({"status": "Success", "children": null})).to_string()),
            not_json("no children"),
        ),
        (
            "unknown-field",
            |call| ok(review(call, &json!({"status": "Success", "children": [], "childs": []})).to_string()),
            not_json("unknown field `childs`"),
        ),
        (
            "unknown-status",
            |call| ok(review(call, &json!({"status": "Sucess", "children": []})).to_string()),
            not_json("unknown variant `Sucess`"),
        ),
        (
            "other-version",
            |call| {
                let mut review = review(call, &json!({"status": "Success", "children": []}));
                review["apiVersion"] = json!("plugin.kubernetes.dask.org/v2");
                ok(review.to_string())
            },
            not_json("malformed"),
        ),
        (
            "long-field",
            |call| ok(review(call, &json!({"status": "Success", "x".repeat(1_000_000): 1})).to_string()),
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

fn with(call: &ReceivedCall, child: Value) -> Reply {
    ok(success(call, vec![child]).to_string())
}

fn children() -> Rows {
    vec![
        (
            "cluster-scoped",
            |call| with(call, kind("v1", "PersistentVolume")),
            Failing("KindNotAllowed", "PersistentVolume"),
        ),
        ("makes-namespace", |call| with(call, kind("v1", "Namespace")), Failing("KindDenied", "Namespace")),
        ("not-allowed", |call| with(call, kind("v1", "Secret")), Failing("KindNotAllowed", "Secret")),
        (
            "role-binding",
            |call| with(call, kind("rbac.authorization.k8s.io/v1", "RoleBinding")),
            Failing("KindDenied", "RoleBinding"),
        ),
        ("kind-list", |call| with(call, kind("v1", "List")), Failing("KindNotAllowed", "v1 List")),
        ("kind-path", |call| with(call, kind("v1/../v1", "ConfigMap")), Failing("KindNotAllowed", "v1/../v1")),
    ]
}

fn names_of_others() -> Rows {
    vec![
        (
            "claims-child",
            |call| {
                let name = format!("demo-scheduler-{GOOD}-config");
                let labels = json!({"plugin.kubernetes.dask.org/plugin": GOOD});
                with(call, config("bad", &json!({"name": name, "labels": labels})))
            },
            Failing("Conflict", "belongs to the plugin good"),
        ),
        (
            "takes-service",
            |call| {
                let mut service = kind("v1", "Service");
                service["manifest"]["metadata"]["name"] = json!(call.subject());
                with(call, service)
            },
            Failing("Conflict", "Service demo-scheduler exists and does not belong to the plugin"),
        ),
        ("takes-victim", |call| with(call, named("bad", VICTIM)), Failing("Conflict", "adopt=takes-victim")),
        (
            "adopts-victim",
            |call| {
                let leave = json!({"plugin.kubernetes.dask.org/adopt": "adopts-victim"});
                with(call, config("bad", &json!({"name": VICTIM, "annotations": leave})))
            },
            Failing("Conflict", "adopt=adopts-victim"),
        ),
        (
            "one-name",
            // The same name for each subject: the second does not get it.
            |call| with(call, named("shared", "one-name")),
            Failing("Conflict", "belongs to another subject"),
        ),
    ]
}

fn sizes_and_names() -> Rows {
    let invalid = |word| Failing("InvalidManifest", word);
    vec![
        (
            "many",
            |call| ok(success(call, (0..1_000).map(|n| config(&format!("c{n}"), &json!({}))).collect()).to_string()),
            Failing("TooManyChildren", "64 children"),
        ),
        (
            "child-10mb",
            |call| with(call, config("big", &json!({"annotations": {"a": "x".repeat(10_000_000)}}))),
            Flooded,
        ),
        (
            "child-300k",
            |call| with(call, config("big", &json!({"annotations": {"a": "x".repeat(300_000)}}))),
            Failing("TooLarge", "may have 262144"),
        ),
        ("key-slash", |call| with(call, config("a/b", &json!({}))), Failing("InvalidKey", "a/b")),
        ("key-long", |call| with(call, config(&"k".repeat(200), &json!({}))), Failing("InvalidKey", "kkkk")),
        ("key-twice", |call| with(call, good_child()), Failing("DuplicateKey", "config")),
        ("name-dots", |call| with(call, named("bad", "..")), invalid("metadata.name")),
        ("name-path", |call| with(call, named("bad", "../secrets/x")), invalid("metadata.name")),
        ("name-upper", |call| with(call, named("bad", "Upper")), invalid("metadata.name")),
        ("name-escape", |call| with(call, named("bad", "a%2fb")), invalid("metadata.name")),
        ("name-number", |call| with(call, config("bad", &json!({"name": 1}))), invalid("metadata.name")),
        ("manifest-null", |call| with(call, json!({"key": "bad", "manifest": null})), invalid("not an object")),
        (
            "manifest-list",
            |call| with(call, json!({"key": "bad", "manifest": [good_child()]})),
            invalid("not an object"),
        ),
    ]
}

fn metadata() -> Rows {
    vec![
        (
            "namespace",
            |call| {
                with(
                    call,
                    config("moved", &json!({"name": format!("moved-{}", call.subject()), "namespace": "kube-system"})),
                )
            },
            Synced,
        ),
        (
            "forged-owner",
            |call| {
                let owner =
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": VICTIM, "uid": "1", "controller": true});
                with(call, config("forged", &json!({"ownerReferences": [owner], "finalizers": ["example.com/never"]})))
            },
            Synced,
        ),
        (
            "annotations-list",
            |call| with(call, config("bad", &json!({"annotations": []}))),
            Failing("InvalidManifest", "metadata.annotations"),
        ),
        (
            "labels-text",
            |call| with(call, config("bad", &json!({"labels": "a=b"}))),
            Failing("InvalidManifest", "metadata.labels"),
        ),
        ("labels-number", |call| with(call, config("bad", &json!({"labels": {"a": 1}}))), Failing("Invalid", "")),
        ("metadata-list", |call| with(call, config("bad", &json!([]))), Failing("InvalidManifest", "metadata")),
        ("unknown-meta", |call| with(call, config("bad", &json!({"nmae": "x"}))), Failing("Invalid", "nmae")),
    ]
}

fn rest() -> Rows {
    vec![
        (
            "random",
            |call| with(call, config("dice", &json!({"annotations": {"dice": fastrand::u64(..).to_string()}}))),
            Synced,
        ),
        (
            "conditions",
            |call| {
                let condition = json!({"type": "A", "status": "True", "reason": "B", "message": "c"});
                let mut review = success(call, vec![]);
                review["response"]["conditions"] = json!(vec![condition; 5_000]);
                ok(review.to_string())
            },
            Synced,
        ),
        (
            "long-message",
            |call| {
                ok(review(call, &json!({"status": "Failure", "reason": "No", "message": "m".repeat(1_000_000)}))
                    .to_string())
            },
            Failing("PluginFailure", "No: mmm"),
        ),
        (
            "long-reason",
            |call| ok(review(call, &json!({"status": "Failure", "reason": "r".repeat(1_000_000)})).to_string()),
            Failing("PluginFailure", "rrr"),
        ),
        ("resync-max", |call| ok(resync(call, &json!(u32::MAX))), Synced),
        ("resync-huge", |call| ok(resync(call, &json!(10_000_000_000_u64))), not_json("malformed")),
        ("resync-negative", |call| ok(resync(call, &json!(-1))), not_json("malformed")),
        ("resync-1", |call| ok(resync(call, &json!(1))), Synced),
        ("pending", |call| ok(review(call, &json!({"status": "Pending"})).to_string()), Waiting),
    ]
}

fn resync(call: &ReceivedCall, seconds: &Value) -> String {
    let mut review = success(call, vec![]);
    review["response"]["resyncAfterSeconds"] = seconds.clone();
    review.to_string()
}

fn discovery_with(field: &str, value: Value) -> Reply {
    let mut discovery = discovery();
    discovery[field] = value;
    ok(discovery.to_string())
}

fn discoveries() -> Rows {
    let wrong = |word| NotReady("ProtocolError", word);
    vec![
        ("d-garbage", |_| ok("{\"hello\": "), wrong("not JSON")),
        ("d-html", |_| ok("<html>"), wrong("not JSON")),
        ("d-hangs", |_| Reply::Hang, NotReady("Unreachable", "in time")),
        ("d-redirect", |_| http("302 Found", "location: http://169.254.169.254/\r\n", ""), wrong("redirects")),
        ("d-endless", |_| flood("200 OK"), wrong("more than 65536 bytes")),
        ("d-version", |_| discovery_with("protocolVersions", json!(["v9"])), NotReady("VersionMismatch", "v9")),
        ("d-long", |_| discovery_with("version", json!("1".repeat(50_000))), wrong("longer than 128")),
        ("d-many", |_| discovery_with("protocolVersions", json!(vec!["v9"; 1_000])), wrong("longer than 128")),
        ("d-many-hooks", |_| discovery_with("hooks", json!(vec!["Sync"; 200_000])), wrong("more than 65536 bytes")),
        // Another version in each response.
        ("d-flips", |call| discovery_with("version", json!(call.before.to_string())), Synced),
    ]
}
