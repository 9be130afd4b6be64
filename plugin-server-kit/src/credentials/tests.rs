//! Calls with valid and invalid credentials against the real router.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use dask_plugin_protocol::limits::MAX_REQUEST_BYTES;
use dask_plugin_protocol::{Discovery, PluginRequest, ReviewRequest, path};
use http::{Request, StatusCode};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::testing::RequestBuilder;
use crate::{Answer, Metrics, Plugin, PluginError, Router, router_with};

const AUDIENCE: &str = "https://web.dask-operator.svc:443";
const SUBJECT: &str = "system:serviceaccount:dask-operator:dask-operator";
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

struct Nothing;

impl Plugin for Nothing {
    fn discovery(&self) -> Discovery {
        Discovery::new("nothing", "1.0.0")
    }

    async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> {
        Ok(Answer::none())
    }
}

fn body() -> String {
    serde_json::to_string(&ReviewRequest::new(RequestBuilder::sync().build())).unwrap()
}

/// Returns the status, and the category and message of the error.
async fn call(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let Ok(response) = router.clone().oneshot(request).await;
    let status = response.status();
    let body = to_bytes(response.into_body().0, MAX_REQUEST_BYTES).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    (status, format!("{}: {}", text("error"), text("message")))
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap()
}

// --- Signatures ---

fn signing(dir: &TempDir, secret: &str) -> Router {
    let file = dir.path().join("secret");
    fs::write(&file, secret).unwrap();
    let credentials = Credentials::none().signature(SignatureVerifier::from_file(file));
    router_with(Nothing, credentials, Metrics::default())
}

/// Builds a call with `body` and a signature of `signed` that is `age` seconds old.
fn signed(secret: &str, age: i64, signed: &str, body: String) -> Request<Body> {
    let time = now() - age;
    let signature = Webhook::new(secret).unwrap().sign("sha256:00", time, signed.as_bytes()).unwrap();
    Request::post(path::SYNC)
        .header("content-type", "application/json")
        .header("webhook-id", "sha256:00")
        .header("webhook-timestamp", time.to_string())
        .header("webhook-signature", signature)
        .body(body.into())
        .unwrap()
}

fn bare(body: String) -> Request<Body> {
    Request::post(path::SYNC).header("content-type", "application/json").body(body.into()).unwrap()
}

#[tokio::test]
async fn only_a_recent_signature_of_this_body_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let router = signing(&dir, SECRET);
    let other = "whsec_AAAAsBQIhrscChlQIMV+b5sSYspob7oD";
    let table = [
        (signed(SECRET, 0, &body(), body()), StatusCode::OK, ""),
        (bare(body()), StatusCode::UNAUTHORIZED, "the request has no signature"),
        (signed(SECRET, 0, "{}", body()), StatusCode::UNAUTHORIZED, "the signature is invalid"),
        (signed(other, 0, &body(), body()), StatusCode::UNAUTHORIZED, "the signature is invalid"),
        (signed(SECRET, 400, &body(), body()), StatusCode::UNAUTHORIZED, "the signature is too old"),
        (signed(SECRET, -400, &body(), body()), StatusCode::UNAUTHORIZED, "the signature is from the future"),
    ];
    for (request, status, message) in table {
        let answer = call(&router, request).await;
        assert!(answer.0 == status && answer.1.contains(message), "{answer:?}, not {message:?}");
    }
    let discovery = || Request::get(path::DISCOVERY).body(Body::empty()).unwrap();
    assert_eq!(call(&router, discovery()).await.0, StatusCode::UNAUTHORIZED, "discovery is protected, too");
}

#[tokio::test]
async fn a_new_secret_takes_effect_immediately_and_a_missing_one_refuses_all_calls() {
    let dir = tempfile::tempdir().unwrap();
    let router = signing(&dir, "whsec_AAAAsBQIhrscChlQIMV+b5sSYspob7oD");
    assert_eq!(call(&router, signed(SECRET, 0, &body(), body())).await.0, StatusCode::UNAUTHORIZED);
    fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
    assert_eq!(call(&router, signed(SECRET, 0, &body(), body())).await.0, StatusCode::OK);
    for (content, why) in [("", "is empty"), ("whsec_no base64", "no base64 follows")] {
        fs::write(dir.path().join("secret"), content).unwrap();
        let answer = call(&router, bare(body())).await;
        assert!(answer.0 == StatusCode::SERVICE_UNAVAILABLE && answer.1.contains(why), "{answer:?}");
    }
    fs::remove_file(dir.path().join("secret")).unwrap();
    let answer = call(&router, bare(body())).await;
    assert!(answer.1.starts_with("CannotVerify: "), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let answer = call(&signing(&dir, SECRET), bare("a".repeat(MAX_REQUEST_BYTES + 1))).await;
    assert_eq!(answer.0, StatusCode::PAYLOAD_TOO_LARGE);
}

// --- Tokens ---

/// A signing key of a cluster.
struct Signer {
    id: &'static str,
    key: EncodingKey,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        Self { id, key: EncodingKey::from_ec_der(&KeyPair::generate().unwrap().serialize_der()) }
    }

    fn public(&self) -> Jwk {
        let mut key = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        key.common.key_id = Some(self.id.to_owned());
        key
    }

    fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.key).unwrap()
    }
}

fn publish(file: &Path, signers: &[&Signer]) {
    let set = JwkSet { keys: signers.iter().map(|signer| signer.public()).collect() };
    fs::write(file, serde_json::to_vec(&set).unwrap()).unwrap();
}

fn claims(edit: impl Fn(&mut Value)) -> Value {
    let mut claims = json!({
        "aud": [AUDIENCE],
        "iss": "https://kubernetes.default.svc.cluster.local",
        "sub": SUBJECT,
        "nbf": now() - 5,
        "exp": now() + 3600,
    });
    edit(&mut claims);
    claims
}

fn verifying(source: KeySource) -> Router {
    let verifier = TokenVerifier::new(source, AUDIENCE).issuer("https://kubernetes.default.svc.cluster.local");
    router_with(Nothing, Credentials::none().token(verifier), Metrics::default())
}

fn bearing(authorization: &str) -> Request<Body> {
    Request::post(path::SYNC)
        .header("content-type", "application/json")
        .header("authorization", authorization)
        .body(body().into())
        .unwrap()
}

#[tokio::test]
async fn only_a_token_of_the_controller_for_this_plugin_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let (cluster, foreign) = (Signer::new("a"), Signer::new("b"));
    publish(&file, &[&cluster]);
    let router = verifying(KeySource::file(file));
    let of = |edit: &dyn Fn(&mut Value)| format!("Bearer {}", cluster.token(&claims(edit)));
    let table = [
        (of(&|_| {}), None),
        (of(&|claims| claims["aud"] = json!("https://other.svc:443")), Some("is not for the audience https://web")),
        (of(&|claims| drop(claims.as_object_mut().unwrap().remove("aud"))), Some("has no claim aud")),
        (of(&|claims| claims["sub"] = json!("system:serviceaccount:team-a:default")), Some("is not from the subject")),
        (of(&|claims| claims["iss"] = json!("https://elsewhere")), Some("is from a different issuer")),
        (of(&|claims| claims["exp"] = json!(now() - 600)), Some("has expired")),
        (of(&|claims| claims["nbf"] = json!(now() + 600)), Some("is not valid yet")),
        (of(&|claims| drop(claims.as_object_mut().unwrap().remove("exp"))), Some("has no claim exp")),
        (format!("Bearer {}", foreign.token(&claims(|_| {}))), Some("with a key that is not a key of the cluster")),
        (format!("Bearer {}", Signer { id: "a", ..foreign }.token(&claims(|_| {}))), Some("has an invalid signature")),
        ("Bearer stolen".to_owned(), Some("is not a JSON Web Token")),
        ("Basic YTpi".to_owned(), Some("has no bearer token")),
    ];
    for (authorization, refusal) in table {
        let answer = call(&router, bearing(&authorization)).await;
        let expected = if refusal.is_none() { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(answer.0, expected, "{refusal:?}: {answer:?}");
        assert!(answer.1.contains(refusal.unwrap_or_default()), "{refusal:?}: {answer:?}");
    }
}

/// A public key is not a secret. If it were accepted as a shared secret, any caller could create a token.
#[tokio::test]
async fn a_token_that_is_signed_with_a_shared_secret_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    publish(&file, &[&Signer::new("a")]);
    let secret = EncodingKey::from_secret(&fs::read(&file).unwrap());
    let header = Header { kid: Some("a".to_owned()), ..Header::new(Algorithm::HS256) };
    let token = encode(&header, &claims(|_| {}), &secret).unwrap();
    let answer = call(&verifying(KeySource::file(file)), bearing(&format!("Bearer {token}"))).await;
    assert_eq!(answer.1, "Unauthorized: the token is signed with the algorithm HS256, which is not accepted");
}

#[tokio::test(start_paused = true)]
async fn new_keys_are_read_when_they_are_used_and_withdrawn_keys_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    publish(&file, &[&old]);
    let router = verifying(KeySource::file(&file));
    let status =
        async |signer: &Signer| call(&router, bearing(&format!("Bearer {}", signer.token(&claims(|_| {}))))).await.0;
    assert_eq!(status(&old).await, StatusCode::OK);
    publish(&file, &[&new]);
    assert_eq!(status(&new).await, StatusCode::UNAUTHORIZED, "keys are not read at each call");
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(status(&new).await, StatusCode::OK);
    assert_eq!(status(&old).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_keys_every_call_is_refused_and_may_be_retried() {
    let source = KeySource::file("/nonexistent/jwks.json");
    let token = Signer::new("a").token(&claims(|_| {}));
    let answer = call(&verifying(source), bearing(&format!("Bearer {token}"))).await;
    assert_eq!(answer.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.1.contains("failed to read the public keys of the cluster: /nonexistent/jwks.json"), "{}", answer.1);
}

/// Serves `body` over https with a certificate for `localhost`. Returns the URL and the CA certificate.
async fn serve_keys(body: String) -> (String, String) {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/openid/v1/jwks", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust the certificate closes the connection.
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let body = body.clone();
            let router = axum::Router::new().route("/openid/v1/jwks", axum::routing::get(|| async move { body }));
            let service = hyper_util::service::TowerToHyperService::new(router);
            let stream = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
        }
    });
    (url, cert.pem())
}

#[tokio::test]
async fn keys_are_fetched_only_from_a_server_with_a_trusted_certificate() {
    let cluster = Signer::new("a");
    let set = JwkSet { keys: vec![cluster.public()] };
    let (url, authority) = serve_keys(serde_json::to_string(&set).unwrap()).await;
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let dir = tempfile::tempdir().unwrap();
    let token = format!("Bearer {}", cluster.token(&claims(|_| {})));
    for (authority, status) in [(authority, StatusCode::OK), (stranger, StatusCode::SERVICE_UNAVAILABLE)] {
        let ca = dir.path().join("ca.crt");
        fs::write(&ca, authority).unwrap();
        let router = verifying(KeySource::url(&url, Some(ca)).unwrap());
        assert_eq!(call(&router, bearing(&token)).await.0, status);
    }
}
