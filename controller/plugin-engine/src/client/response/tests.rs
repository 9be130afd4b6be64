//! Tests of the interpretation of plugins' responses.

use serde_json::{Value, json};

use super::*;
use plugin_protocol::Child;

const UID: &str = "sha256:0000";

fn raw(code: u16, body: impl Into<Vec<u8>>) -> RawResponse {
    let at = "2026-11-23T09:00:00Z".parse().unwrap();
    RawResponse { code, retry_after: None, at, body: body.into() }
}

/// Returns the body of a 200 whose `response` has the right uid and `fields`.
fn answer(fields: &Value) -> Value {
    let mut response = json!({"uid": UID});
    response.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"apiVersion": "plugin.kubernetes.dask.org/v1alpha1", "kind": "PluginReview", "response": response})
}

fn interpreted(body: &Value) -> Result<Answer, CallError> {
    interpret(&raw(200, body.to_string()), UID)
}

fn protocol(message: &str) -> CallError {
    CallError::Protocol(message.to_owned())
}

fn server_error(code: u16) -> CallError {
    CallError::ServerError { code, text: ": no".to_owned() }
}

fn busy(code: u16, retry_after: Option<u64>) -> CallError {
    CallError::Busy { code, retry_after: retry_after.map(Duration::from_secs) }
}

#[test]
fn every_code_but_200_is_an_error_of_its_own_kind() {
    let redirect = |code| protocol(&format!("the plugin answered {code}; redirects are not followed"));
    let refusal = |code| protocol(&format!("the plugin refused the request with {code}: no"));
    let strange = |code| protocol(&format!("the plugin answered {code}: no"));
    let table = [
        (201, strange(201), "ProtocolError"),
        (202, strange(202), "ProtocolError"),
        (204, strange(204), "ProtocolError"),
        (301, redirect(301), "ProtocolError"),
        (302, redirect(302), "ProtocolError"),
        (307, redirect(307), "ProtocolError"),
        (400, strange(400), "ProtocolError"),
        (401, CallError::AuthFailed(401), "AuthFailed"),
        (403, CallError::AuthFailed(403), "AuthFailed"),
        (404, CallError::NotServed(404), "NotServed"),
        (405, CallError::NotServed(405), "NotServed"),
        (408, server_error(408), "ServerError"),
        (410, CallError::Gone, "Gone"),
        (413, refusal(413), "ProtocolError"),
        (415, refusal(415), "ProtocolError"),
        (422, refusal(422), "ProtocolError"),
        (429, busy(429, None), "Busy"),
        (500, server_error(500), "ServerError"),
        (502, server_error(502), "ServerError"),
        (503, busy(503, None), "Busy"),
        (504, server_error(504), "ServerError"),
        (599, server_error(599), "ServerError"),
    ];
    for (code, error, reason) in table {
        assert_eq!(error.reason(), reason, "{code}");
        assert_eq!(interpret(&raw(code, "no"), UID), Err(error), "{code}");
    }
}

#[test]
fn a_complete_response_with_another_code_than_200_is_an_error() {
    let body = answer(&json!({"status": "Success", "children": []})).to_string();
    for code in [201, 202, 203, 206, 299, 304] {
        assert!(interpret(&raw(code, body.clone()), UID).is_err(), "{code}");
    }
    assert!(interpret(&raw(200, body), UID).is_ok());
}

#[test]
fn the_children_of_a_success_are_taken_as_they_are() {
    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}});
    let body = answer(&json!({
        "status": "Success",
        "children": [{"key": "config", "manifest": manifest}],
        "warnings": ["soon"],
        "resyncAfterSeconds": 60,
    }));
    let response = interpreted(&body).unwrap();
    assert_eq!(response.status, ResponseStatus::Success);
    assert_eq!(response.parsed().children, [Child::new("config", manifest)]);
    assert_eq!((response.warnings, response.resync_after_seconds), (vec!["soon".to_owned()], 60));
}

/// A plugin that forgets the list must not delete all children by accident. A plugin that wants to delete them sends an
/// empty list.
#[test]
fn only_an_empty_list_deletes_all_children() {
    let missing = protocol("the response has the status Success and no children; an empty list deletes all children");
    assert_eq!(interpreted(&answer(&json!({"status": "Success"}))), Err(missing.clone()));
    assert_eq!(interpreted(&answer(&json!({"status": "Success", "children": null}))), Err(missing));
    let empty = interpreted(&answer(&json!({"status": "Success", "children": []}))).unwrap();
    assert_eq!(empty.children, Some(vec![]));
}

#[test]
fn failure_and_pending_are_responses_and_no_errors() {
    let failure = json!({"status": "Failure", "reason": "NoHost", "message": "the cluster has no host"});
    let response = interpreted(&answer(&failure)).unwrap();
    assert_eq!(response.status, ResponseStatus::Failure);
    assert_eq!((response.reason.as_str(), response.message.as_str()), ("NoHost", "the cluster has no host"));
    let response = interpreted(&answer(&json!({"status": "Pending"}))).unwrap();
    assert_eq!((response.status, response.children), (ResponseStatus::Pending, None));
}

/// The uid ties a response to its request. A response to an older request has older children.
#[test]
fn a_response_to_another_request_is_refused() {
    for uid in ["sha256:1111", "", "SHA256:0000", "sha256:0000 "] {
        let body = answer(&json!({"uid": uid, "status": "Success", "children": []}));
        assert_eq!(interpreted(&body), Err(protocol("the response has a different uid than the request")), "{uid:?}");
    }
}

#[test]
fn bodies_that_are_no_review_are_protocol_errors() {
    let mut unknown_kind = answer(&json!({"status": "Success", "children": []}));
    unknown_kind["kind"] = json!("AdmissionReview");
    let mut newer = answer(&json!({"status": "Success", "children": []}));
    newer["apiVersion"] = json!("plugin.kubernetes.dask.org/v2");
    let mut extra = answer(&json!({"status": "Success", "children": []}));
    extra["extra"] = json!(1);
    let misspelt = answer(&json!({"status": "Success", "children": [], "resyncAfter": 5}));
    let table = [
        (String::new(), "the response is not JSON: EOF while parsing"),
        ("<!DOCTYPE html><html>Bad gateway</html>".to_owned(), "the response is not JSON: expected value"),
        (format!("{} {{}}", answer(&json!({"status": "Pending"}))), "the response is not JSON: trailing characters"),
        ("null".to_owned(), "the response is malformed: invalid type: null"),
        ("[]".to_owned(), "the response is malformed: invalid"),
        ("{}".to_owned(), "the response is malformed: missing field `apiVersion`"),
        (unknown_kind.to_string(), "the response is malformed: unknown variant `AdmissionReview`"),
        (newer.to_string(), "the response is malformed: unknown variant `plugin.kubernetes.dask.org/v2`"),
        (extra.to_string(), "the response is malformed: unknown field `extra`"),
        (misspelt.to_string(), "the response is malformed: unknown field `resyncAfter`"),
        (answer(&json!({"status": "Maybe"})).to_string(), "the response is malformed: unknown variant `Maybe`"),
        (answer(&json!({})).to_string(), "the response is malformed: missing field `status`"),
    ];
    for (body, start) in table {
        match interpret(&raw(200, body.clone()), UID) {
            Err(CallError::Protocol(message)) => assert!(message.starts_with(start), "{body}: {message}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_a_protocol_error() {
    let error = interpret(&raw(200, vec![b'"', 0xff, b'"']), UID).unwrap_err();
    assert_eq!(error.reason(), "ProtocolError");
}

/// Returns an answer whose objects and arrays are nested `depth` deep. The envelope, its response, the children, the
/// child and its manifest are five of these levels.
fn nested(depth: usize) -> String {
    let inner = depth - 5;
    let value = format!("{}{}", "[".repeat(inner), "]".repeat(inner));
    let child = format!(r#"{{"key":"a","manifest":{{"a":{value}}}}}"#);
    let body = answer(&json!({"status": "Success", "children": ["CHILD"]})).to_string();
    body.replace(r#""CHILD""#, &child)
}

#[test]
fn responses_are_nested_at_most_64_deep() {
    assert!(interpret(&raw(200, nested(64)), UID).is_ok());
    let too_deep = Err(protocol("the response is too large: it is nested deeper than 64"));
    assert_eq!(interpret(&raw(200, nested(65)), UID), too_deep);
    assert_eq!(interpret(&raw(200, nested(100)), UID), too_deep);
}

/// Two megabytes of small maps take 176 MiB as a tree.
#[test]
fn a_response_with_too_many_values_is_refused_before_it_is_parsed() {
    let maps = |count: usize| {
        let child = json!({"key": "a", "manifest": {"x": "MAPS"}});
        let body = answer(&json!({"status": "Success", "children": [child]})).to_string();
        body.replace(r#""MAPS""#, &format!("[{}]", vec![r#"{"a":0}"#; count].join(",")))
    };
    assert!(interpret(&raw(200, maps(10_000)), UID).is_ok());
    let bomb = maps(260_000);
    assert!(bomb.len() <= limits::MAX_RESPONSE_BYTES);
    match interpret(&raw(200, bomb), UID) {
        Err(CallError::Protocol(message)) => {
            assert!(message.starts_with("the response is too large: it has 7800"), "{message}");
            assert!(message.ends_with("values and names of fields, and may have 50000"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

/// A stack overflow would end the controller, and with it the reconciliation of every cluster.
#[test]
fn a_bomb_of_brackets_is_a_protocol_error() {
    let objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    for bomb in [nested(10_000), "[".repeat(1_000_000), objects] {
        assert_eq!(interpret(&raw(200, bomb), UID).unwrap_err().reason(), "ProtocolError");
    }
}

/// The message goes into the status of a resource and into Events.
#[test]
fn error_bodies_become_one_line_of_at_most_512_bytes() {
    let text_of = |body: &[u8]| match check_code(&raw(500, body)) {
        Err(CallError::ServerError { text, .. }) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(text_of(b"Traceback:\n  File \"a\"\r\n\tValueError\n\n"), ": Traceback: File \"a\" ValueError");
    let of_a_library = br#"{"error": "PluginFailed", "message": "the plugin failed with KeyError; see its log"}"#;
    assert_eq!(text_of(of_a_library), ": PluginFailed: the plugin failed with KeyError; see its log");
    assert_eq!(text_of(br#"{"error": 5}"#), r#": {"error": 5}"#);
    assert_eq!(text_of(b""), "");
    assert_eq!(text_of(b" \n"), "");
    assert_eq!(text_of(&[b'a', 0xff, b'b']), ": a\u{fffd}b");
    assert_eq!(text_of(&[b'x'; 5000]), format!(": {}", "x".repeat(512)));
    // 171 characters of three bytes are 513 bytes. A character is never split.
    assert_eq!(text_of("€".repeat(171).as_bytes()), format!(": {}", "€".repeat(170)));
}

#[test]
fn the_message_about_a_malformed_response_is_cut() {
    let body = answer(&json!({"status": "x".repeat(5000)}));
    match interpreted(&body) {
        Err(CallError::Protocol(message)) => assert_eq!(message.len(), limits::MAX_MESSAGE_BYTES),
        other => panic!("{other:?}"),
    }
}

/// Each row is a `Retry-After` header and the resulting pause. `None` stands for the ordinary backoff.
#[test]
fn retry_after_is_honoured_between_one_second_and_ten_minutes() {
    let table = [
        ("0", Some(1)),
        ("1", Some(1)),
        ("120", Some(120)),
        (" 7 ", Some(7)),
        ("600", Some(600)),
        ("601", Some(600)),
        ("18446744073709551615", Some(600)),
        ("99999999999999999999999999", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Mon, 23 Nov 2026 09:00:00 GMT", Some(1)),
        ("Mon, 23 Nov 2026 08:00:00 GMT", Some(1)),
        ("Mon, 23 Nov 2026 09:02:00 GMT", Some(120)),
        ("Monday, 23-Nov-26 09:02:00 GMT", Some(120)),
        ("Tue, 24 Nov 2026 09:00:00 GMT", Some(600)),
        ("Mon, 23 Nov 2026 09:02:00 CET", None),
    ];
    for code in [429, 503] {
        for (text, seconds) in table {
            let raw = RawResponse { retry_after: Some(text.to_owned()), ..raw(code, "") };
            let error = interpret(&raw, UID).unwrap_err();
            assert_eq!(error.reason(), "Busy");
            let retry = error.retry(1).unwrap();
            match seconds {
                Some(seconds) => assert_eq!(retry, Duration::from_secs(seconds), "{code} {text:?}"),
                None => assert!(retry <= Duration::from_secs(1), "{code} {text:?}: {retry:?}"),
            }
        }
    }
}

#[test]
fn retry_after_counts_for_429_and_503_only() {
    let raw = RawResponse { retry_after: Some("600".to_owned()), ..raw(500, "no") };
    assert_eq!(interpret(&raw, UID), Err(server_error(500)));
}

#[test]
fn asking_again_is_left_to_changes_where_it_would_be_useless() {
    let minute = Some(Duration::from_mins(1));
    let table = [
        (protocol("any"), None),
        (CallError::Gone, None),
        (CallError::AuthFailed(401), minute),
        (CallError::NotServed(404), minute),
    ];
    for (error, retry) in table {
        for failures in [1, 2, 100] {
            assert_eq!(error.retry(failures), retry, "{error:?} {failures}");
        }
    }
}

/// Full jitter: with hundreds of subjects, equal pauses would overload a plugin as soon as it is back.
#[test]
fn pauses_double_up_to_five_minutes_and_are_spread_below_that() {
    fastrand::seed(1);
    let bounds = [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (8, 128), (9, 256), (10, 300), (11, 300), (usize::MAX, 300)];
    let no_token = CallError::NoCredentials("down".to_owned());
    let errors = [CallError::Unreachable("down".to_owned()), no_token, server_error(500), busy(503, None)];
    for (failures, seconds) in bounds {
        let longest = Duration::from_secs(seconds);
        for error in &errors {
            let pauses: Vec<Duration> = (0..200).filter_map(|_| error.retry(failures)).collect();
            assert_eq!(pauses.len(), 200);
            assert!(pauses.iter().all(|pause| *pause <= longest), "{error:?} {failures}");
            assert!(pauses.iter().all(|pause| *pause >= longest / 10), "{error:?} {failures}");
            assert!(pauses.iter().any(|pause| *pause > longest * 9 / 10), "{error:?} {failures}");
            assert!(pauses.iter().any(|pause| *pause < longest / 4), "{error:?} {failures}");
        }
    }
}

/// The breaker stops all calls to a plugin, so it must not open because of one subject that it cannot handle.
#[test]
fn only_a_plugin_that_cannot_be_reached_counts_for_the_breaker() {
    assert!(CallError::Unreachable("timeout".to_owned()).is_transport());
    let others = [
        busy(429, None),
        busy(503, Some(5)),
        server_error(500),
        CallError::AuthFailed(401),
        CallError::NotServed(404),
        CallError::Gone,
        CallError::NoCredentials("any".to_owned()),
        protocol("any"),
    ];
    for error in others {
        assert!(!error.is_transport(), "{error:?}");
    }
}

#[test]
fn errors_are_sentences_for_people() {
    let table = [
        (CallError::Unreachable("the plugin did not respond in time".to_owned()), "the plugin did not respond in time"),
        (busy(429, Some(3)), "the plugin answered 429 and asks the controller to wait"),
        (server_error(500), "the plugin answered 500: no"),
        (CallError::AuthFailed(403), "the plugin refused the controller's credentials with 403"),
        (CallError::NotServed(405), "the plugin does not serve this hook (it answered 405)"),
        (CallError::Gone, "the plugin reports that it is gone permanently (410)"),
        (protocol("any"), "any"),
    ];
    for (error, sentence) in table {
        assert_eq!(error.to_string(), sentence);
    }
    assert_eq!(CallError::Unreachable(String::new()).reason(), "Unreachable");
}

#[test]
fn other_bodies_of_a_200_are_held_to_the_same_limits() {
    let discovery = json!({
        "apiVersion": "plugin.kubernetes.dask.org/v1alpha1",
        "kind": "PluginDiscovery",
        "name": "ingress",
        "version": "1.2.0",
        "protocolVersions": ["v1alpha1"],
        "hooks": ["Sync"],
    });
    let parsed: plugin_protocol::Discovery = parse(discovery.to_string().as_bytes(), &DISCOVERY).unwrap();
    assert_eq!(parsed, plugin_protocol::Discovery::new("ingress", "1.2.0"));
    let error = parse::<Value>(format!("{}{}", "[".repeat(65), "]".repeat(65)).as_bytes(), &DISCOVERY);
    assert_eq!(error, Err(protocol("the response is too large: it is nested deeper than 64")));
}

/// The discovery is written into the status of the plugin resource, and etcd stores at most 1.5 MiB per object.
#[test]
fn a_discovery_response_has_bounded_texts_and_lists() {
    let discovery_with = |field: &str, value: Value| {
        let mut discovery = serde_json::to_value(Discovery::new("ingress", "1.2.0")).unwrap();
        discovery[field] = value;
        parse_discovery(&raw(200, discovery.to_string()))
    };
    for (field, entry) in [("protocolVersions", "v1"), ("capabilities", "A"), ("hooks", "Sync")] {
        assert!(discovery_with(field, json!(vec![entry; 128])).is_ok(), "{field}");
        assert_eq!(discovery_with(field, json!(vec![entry; 129])).unwrap_err().reason(), "ProtocolError", "{field}");
    }
    for field in ["name", "version"] {
        assert!(discovery_with(field, json!("x".repeat(128))).is_ok(), "{field}");
        assert!(discovery_with(field, json!("x".repeat(129))).is_err(), "{field}");
    }
    assert!(discovery_with("capabilities", json!(["x".repeat(129)])).is_err());
}
