//! A good plugin passes; for each check there is a plugin that it fails.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use dask_plugin_sanity::{CHECKS, Finding, args::Args, report::Report, run};
use plugin_server_kit::{
    Answer, Metrics, Plugin, PluginError,
    credentials::{Credentials, SignatureVerifier},
    protocol::{Child, Discovery, Hook, PluginRequest},
    router, router_with,
    serve::{Listener, serve},
    tls::{CONTROLLER_NAME, Tls},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

struct Good;

impl Plugin for Good {
    fn discovery(&self) -> Discovery {
        Discovery::new("good", "1.0.0").hook(Hook::Finalize)
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"of": request.owner.name()}});
        Ok(Child::new("map", map).into())
    }

    async fn finalize(&self, _: &PluginRequest) -> Result<(), PluginError> {
        Ok(())
    }
}

/// What is wrong with a plugin.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    NoVersion,
    OtherProtocol,
    Html,
    WrongUid,
    NullChildren,
    BadKey,
    NoKind,
    OtherKind,
    DeniedKind,
    Random,
    OneAtATime,
    NoRepetition,
    ReadsAttempt,
    ReadsReason,
    Flips,
    StrictInput,
    AnswersAnything,
    AnswersAnyPath,
    FinalizeUnlisted,
    FinalizeOnce,
    DiesOfSize,
    DiesOfDepth,
}

#[derive(Clone)]
struct Broken {
    defect: Defect,
    good: Router,
    calls: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    dead: Arc<AtomicUsize>,
}

fn broken(defect: Defect) -> Router {
    let (calls, running, dead) = Default::default();
    let state = Broken { defect, good: router(Good), calls, running, dead };
    Router::new().fallback(misbehave).with_state(state)
}

fn reply(code: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(code).header("content-type", "application/json").body(body.into()).unwrap()
}

/// Passes the call on to the good plugin, and spoils the request or the answer.
async fn misbehave(State(state): State<Broken>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    let call = state.calls.fetch_add(1, Ordering::SeqCst);
    let path = parts.uri.path().to_owned();
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(answer) = instead(&state, &path, &body, &sent) {
        return answer;
    }
    let running = state.running.fetch_add(1, Ordering::SeqCst);
    let passed = state.good.clone().oneshot(Request::from_parts(parts, Body::from(body))).await.unwrap();
    tokio::task::yield_now().await;
    state.running.fetch_sub(1, Ordering::SeqCst);
    if state.defect == Defect::OneAtATime && running > 0 {
        return reply(500, "busy");
    }
    let code = passed.status();
    let bytes = to_bytes(passed.into_body(), usize::MAX).await.unwrap();
    let Ok(mut answer) = serde_json::from_slice::<Value>(&bytes) else { return reply(code.as_u16(), bytes) };
    if code == StatusCode::OK {
        spoil(state.defect, call, &sent, &mut answer);
    }
    reply(code.as_u16(), answer.to_string())
}

/// Defects that do not let the good plugin answer.
fn instead(state: &Broken, path: &str, body: &[u8], sent: &Value) -> Option<Response> {
    let is_sync = path == "/v1alpha1/sync";
    let is_bad = sent["request"]["hook"] != "Sync" || sent["request"]["subject"]["object"].is_null();
    let anything = || reply(200, json!({"error": "none"}).to_string());
    match state.defect {
        Defect::Html if is_sync => Some(reply(200, "<html>")),
        Defect::AnswersAnything if is_sync && is_bad => Some(anything()),
        Defect::AnswersAnyPath if path.ends_with("no-such-path") => Some(anything()),
        Defect::FinalizeUnlisted if path == "/v1alpha1/finalize" => Some(reply(404, "{}")),
        Defect::StrictInput if body.windows(6).any(|part| part == b"Future") => Some(reply(422, "{}")),
        Defect::NoRepetition if sent["request"]["attempt"] == 2 => Some(reply(409, "{}")),
        Defect::DiesOfSize | Defect::DiesOfDepth => {
            let fatal =
                if state.defect == Defect::DiesOfSize { body.len() > 5_000_000 } else { body.ends_with(b"]]}") };
            state.dead.fetch_add(usize::from(fatal), Ordering::SeqCst);
            (state.dead.load(Ordering::SeqCst) > 0).then(|| reply(500, "dead"))
        }
        _ => None,
    }
}

/// Defects in an answer.
fn spoil(defect: Defect, call: usize, sent: &Value, answer: &mut Value) {
    let is_discovery = answer["kind"] == "PluginDiscovery";
    let request = &sent["request"];
    let stands = request["observed"]["children"].as_object().is_some_and(|children| !children.is_empty());
    if is_discovery {
        match defect {
            Defect::NoVersion => answer["version"] = json!(""),
            Defect::OtherProtocol => answer["protocolVersions"] = json!(["v9"]),
            _ => {}
        }
        return;
    }
    let response = &mut answer["response"];
    match defect {
        Defect::WrongUid => response["uid"] = json!("sha256:00"),
        Defect::NullChildren => response["children"] = json!(null),
        Defect::BadKey => response["children"][0]["key"] = json!("Bad Key"),
        Defect::NoKind => response["children"][0]["manifest"] = json!({"data": {}}),
        Defect::OtherKind => response["children"][0]["manifest"]["kind"] = json!("Secret"),
        Defect::DeniedKind => response["children"][0]["manifest"]["kind"] = json!("ServiceAccount"),
        Defect::Random => response["children"][0]["manifest"]["data"]["call"] = json!(call.to_string()),
        Defect::ReadsAttempt => response["warnings"] = json!([request["attempt"].to_string()]),
        Defect::ReadsReason => response["warnings"] = json!([request["event"]["reason"].to_string()]),
        Defect::Flips if stands => response["children"] = json!([]),
        Defect::FinalizeOnce if request["hook"] == "Finalize" && call % 2 == 1 => {
            response["finalized"] = json!(false);
        }
        _ => {}
    }
}

async fn listen(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(Listener::tcp(listener), router, std::future::pending()));
    endpoint
}

fn mk_args(endpoint: String, dir: &TempDir) -> Args {
    let plugin = dir.path().join("plugin.yaml");
    let manifest = "
apiVersion: kubernetes.dask.org/v1alpha1
kind: DaskOperatorPlugin
spec: {children: [{apiVersion: v1, kind: ConfigMap}]}
";
    std::fs::write(&plugin, manifest).unwrap();
    Args { endpoint, plugin: Some(plugin), timeout: 10, ..Args::default() }
}

fn failures(report: &Report) -> Vec<&'static str> {
    report.failed().map(|result| result.id).collect()
}

#[tokio::test]
async fn a_good_plugin_passes_by_http_and_over_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("good.sock");
    tokio::spawn(serve(Listener::unix(&socket).unwrap(), router(Good), std::future::pending()));
    for endpoint in [listen(router(Good)).await, format!("unix:{}", socket.display())] {
        let report = run(&mk_args(endpoint, &dir)).await.unwrap();
        assert!(report.passed(), "{}", report.text());
        let skipped = report.results.iter().filter(|result| matches!(result.finding, Some(Finding::Skipped(_))));
        assert_eq!(skipped.map(|result| result.id).collect::<Vec<_>>(), ["missing-credentials", "forged-credentials"]);
    }
}

#[tokio::test]
async fn each_defect_is_found_by_its_check() {
    let table = [
        (Defect::NoVersion, "discovery"),
        (Defect::OtherProtocol, "protocol-version"),
        (Defect::Html, "answers"),
        (Defect::WrongUid, "uid-echo"),
        (Defect::NullChildren, "children-present"),
        (Defect::BadKey, "child-keys"),
        (Defect::NoKind, "manifests"),
        (Defect::OtherKind, "allowed-kinds"),
        (Defect::DeniedKind, "allowed-kinds"),
        (Defect::Random, "determinism"),
        (Defect::OneAtATime, "concurrency"),
        (Defect::NoRepetition, "repeated-uid"),
        (Defect::ReadsAttempt, "repeated-uid"),
        (Defect::ReadsReason, "hints-ignored"),
        (Defect::Flips, "settles"),
        (Defect::StrictInput, "unknown-fields"),
        (Defect::AnswersAnything, "invalid-json"),
        (Defect::AnswersAnything, "invalid-request"),
        (Defect::AnswersAnything, "hook-mismatch"),
        (Defect::AnswersAnything, "wrong-method"),
        (Defect::AnswersAnyPath, "unknown-path"),
        (Defect::DiesOfSize, "oversized-input"),
        (Defect::DiesOfDepth, "deep-json"),
        (Defect::FinalizeUnlisted, "finalize-served"),
        (Defect::FinalizeOnce, "finalize-idempotent"),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (defect, id) in table {
        let args = Args { only: vec![id.to_owned()], ..mk_args(listen(broken(defect)).await, &dir) };
        let report = run(&args).await.unwrap();
        assert_eq!(failures(&report), [id], "{defect:?}: {}", report.text());
    }
    let elsewhere = ["content-type", "missing-credentials", "forged-credentials"];
    let untested: Vec<_> = CHECKS
        .iter()
        .map(|check| check.id)
        .filter(|id| !elsewhere.contains(id) && !table.iter().any(|(_, tested)| tested == id))
        .collect();
    assert!(untested.is_empty(), "no plugin is broken for {untested:?}");
}

/// One defect must not make everything red: an author has to see what is wrong.
#[tokio::test]
async fn a_wrong_uid_fails_one_check_only() {
    let dir = tempfile::tempdir().unwrap();
    let report = run(&mk_args(listen(broken(Defect::WrongUid)).await, &dir)).await.unwrap();
    assert_eq!(failures(&report), ["uid-echo"], "{}", report.text());
}

#[tokio::test]
async fn a_plugin_that_reads_any_content_type_is_found() {
    async fn lax(State(good): State<Router>, mut request: Request) -> Response {
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        good.oneshot(request).await.unwrap()
    }
    let dir = tempfile::tempdir().unwrap();
    let endpoint = listen(Router::new().fallback(lax).with_state(router(Good))).await;
    let report = run(&mk_args(endpoint, &dir)).await.unwrap();
    assert_eq!(failures(&report), ["content-type"], "{}", report.text());
}

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[tokio::test]
async fn signatures_are_shown_and_a_plugin_that_does_not_verify_them_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let credentials = Credentials::none().signature(SignatureVerifier::from_file(&secret));
    let closed = listen(router_with(Good, credentials, Metrics::default())).await;
    let open = listen(router(Good)).await;
    let expected: [(String, &[&str]); 2] = [(closed, &[]), (open, &["missing-credentials", "forged-credentials"])];
    for (endpoint, failed) in expected {
        let args = Args { hmac_file: Some(secret.clone()), ..mk_args(endpoint, &dir) };
        let report = run(&args).await.unwrap();
        assert_eq!(failures(&report), failed, "{}", report.text());
    }
}

/// Writes PEM files of an authority, a server for `localhost` and the controller.
fn make_certificates(dir: &std::path::Path) {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for (file, name, usage) in [
        ("tls", "localhost", ExtendedKeyUsagePurpose::ServerAuth),
        ("controller", CONTROLLER_NAME, ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        std::fs::write(dir.join(format!("{file}.crt")), certificate).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn a_plugin_that_serves_the_controller_alone_passes_with_the_controllers_certificate() {
    let dir = tempfile::tempdir().unwrap();
    make_certificates(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let tls = Tls::load(dir.path()).await.unwrap();
    tokio::spawn(serve(Listener::tls(listener, tls), router(Good), std::future::pending()));
    let file = |name: &str| Some(dir.path().join(name));
    let (ca, cert, key) = (file("ca.crt"), file("controller.crt"), file("controller.key"));
    let connect_to = Some("127.0.0.1".parse().unwrap());
    let args = Args { ca, cert, key, connect_to, ..mk_args(endpoint, &dir) };
    let report = run(&args).await.unwrap();
    assert!(report.results.iter().all(|result| result.finding.is_none()), "{}", report.text());
}

#[tokio::test]
async fn requests_can_be_given() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("requests.jsonl");
    let golden = include_str!("../../plugin-protocol/tests/golden/sync_request.json");
    std::fs::write(&file, format!("{golden}\n{golden}")).unwrap();
    let args = Args { requests: Some(file.clone()), ..mk_args(listen(router(Good)).await, &dir) };
    assert!(run(&args).await.unwrap().passed());
    std::fs::write(&file, "").unwrap();
    assert!(run(&args).await.unwrap_err().to_string().ends_with("it holds no requests"));
}
