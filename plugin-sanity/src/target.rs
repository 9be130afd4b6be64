//! Sends requests to the plugin.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use plugin_server_kit::tls::CONTROLLER_NAME;
use reqwest::{Client, Url, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

use crate::{Error, args::Args};

/// What the plugin answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The status and the start of the body.
    pub(crate) fn describe(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        format!("{} {}", self.code.as_u16(), plugin_protocol::limits::cut_message(text.trim()))
    }
}

/// What is shown to the plugin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) forged_certificate: bool,
    pub(crate) token: Option<String>,
    pub(crate) secret: Option<Vec<u8>>,
    /// How many seconds ago signatures were made.
    pub(crate) signature_age: i64,
    /// Whether signatures are over another body.
    pub(crate) signs_other_body: bool,
}

/// An endpoint, and what is shown to it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    client: Client,
    base: String,
    pub(crate) shown: Shown,
    timeout: u32,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Vec<u8>,
}

impl Target {
    pub(crate) fn new(args: &Args) -> Result<Self, Error> {
        let read = |path: &PathBuf| fs::read(path).map_err(|source| Error::Read { path: path.clone(), source });
        let token = args.token_file.as_ref().map(read).transpose()?;
        let shown = Shown {
            certificate: args.cert.clone().zip(args.key.clone()),
            token: token.map(|token| String::from_utf8_lossy(&token).trim().to_owned()),
            secret: args.hmac_file.as_ref().map(read).transpose()?,
            ..Shown::default()
        };
        Self::with(args, shown)
    }

    /// The same endpoint, with something else shown to it.
    pub(crate) fn with(args: &Args, shown: Shown) -> Result<Self, Error> {
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .timeout(Duration::from_secs(args.timeout.into()))
            .tls_backend_preconfigured(tls(args.ca.as_deref(), &shown)?);
        let (builder, base) = if let Some(path) = args.endpoint.strip_prefix("unix:") {
            (builder.unix_socket(PathBuf::from(path)), "http://plugin".to_owned())
        } else {
            let (url, pinned) = parse(&args.endpoint, args.connect_to)?;
            let builder = match pinned {
                Some((host, address)) => builder.resolve(&host, address),
                None => builder,
            };
            (builder, url)
        };
        let client = builder.build().map_err(|error| Error::Endpoint(error.to_string()))?;
        Ok(Self { client, base, shown, timeout: args.timeout })
    }

    /// Sends `call`, or says why there is no answer.
    pub(crate) async fn send(&self, call: &Call) -> Result<Reply, String> {
        let separator = if call.path.contains('?') { '&' } else { '?' };
        let url = format!("{}{}{separator}timeout={}s", self.base, call.path, self.timeout);
        let mut request = self.client.request(call.method.clone(), url).headers(self.credentials(call)?);
        if let Some(content_type) = call.content_type {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        if call.method != Method::GET {
            request = request.body(call.body.clone());
        }
        let response = request.send().await.map_err(|error| cause(&error))?;
        let code = response.status();
        let body = response.bytes().await.map_err(|error| cause(&error))?.to_vec();
        Ok(Reply { code, body })
    }

    fn credentials(&self, call: &Call) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let text = |value: String| HeaderValue::try_from(value).map_err(|error| error.to_string());
        if let Some(token) = &self.shown.token {
            headers.insert(http::header::AUTHORIZATION, text(format!("Bearer {token}"))?);
        }
        let Some(secret) = &self.shown.secret else { return Ok(headers) };
        let now = Timestamp::now().as_second() - self.shown.signature_age;
        let id = if call.method == Method::GET { "discovery" } else { "sha256:sanity" };
        let body = if self.shown.signs_other_body { b"another body".as_slice() } else { &call.body };
        let signature = webhook(secret).and_then(|webhook| webhook.sign(id, now, body).map_err(|e| e.to_string()))?;
        headers.insert(HEADER_WEBHOOK_ID, text(id.to_owned())?);
        headers.insert(HEADER_WEBHOOK_TIMESTAMP, text(now.to_string())?);
        headers.insert(HEADER_WEBHOOK_SIGNATURE, text(signature)?);
        Ok(headers)
    }
}

fn webhook(secret: &[u8]) -> Result<Webhook, String> {
    let text = std::str::from_utf8(secret).unwrap_or_default().trim();
    let decoded = Webhook::new(text).ok().filter(|_| !text.is_empty());
    decoded.map_or_else(|| Webhook::from_bytes(secret.to_vec()).map_err(|error| error.to_string()), Ok)
}

/// The URL without a slash at its end, and where its host is if that is given.
type Parsed = (String, Option<(String, SocketAddr)>);

fn parse(endpoint: &str, connect_to: Option<IpAddr>) -> Result<Parsed, Error> {
    let url = Url::parse(endpoint).map_err(|error| Error::Endpoint(format!("{endpoint} is no URL: {error}")))?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(Error::Endpoint(format!("{endpoint} names no host")));
    };
    let pinned = connect_to.map(|address| (host.to_owned(), SocketAddr::new(address, port)));
    Ok((endpoint.trim_end_matches('/').to_owned(), pinned))
}

fn tls(ca: Option<&Path>, shown: &Shown) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in ca.map(certificates).transpose()?.into_iter().flatten() {
        roots.add(certificate).map_err(|error| Error::Endpoint(error.to_string()))?;
    }
    let failed = |error: rustls::Error| Error::Endpoint(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots);
    if shown.forged_certificate {
        let (certificate, key) = forged()?;
        return builder.with_client_auth_cert(vec![certificate], key).map_err(failed);
    }
    let Some((certificate, key)) = &shown.certificate else { return Ok(builder.with_no_client_auth()) };
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| bad_pem(key, &error))?;
    builder.with_client_auth_cert(certificates(certificate)?, key_der).map_err(failed)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| bad_pem(path, &error))?;
    all.collect::<Result<_, _>>().map_err(|error| bad_pem(path, &error))
}

fn bad_pem(path: &Path, error: &rustls::pki_types::pem::Error) -> Error {
    Error::File { path: path.to_owned(), cause: error.to_string() }
}

/// The controller's name, in a certificate that anybody can make.
fn forged() -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Endpoint(format!("failed to make a certificate: {error}"));
    let made = rcgen::generate_simple_self_signed([CONTROLLER_NAME.to_owned()]).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|error| failed(&error))?;
    Ok((made.cert.der().clone(), key))
}

/// The innermost cause says what happened.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("no answer: {cause}")
}
