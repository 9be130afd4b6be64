//! An HTTPS client that connects to the gateway, sends the host as SNI, and trusts a single certificate authority.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const TIMEOUT: Duration = Duration::from_secs(15);

/// The answer to a request.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Header and body.
    pub(crate) text: String,
    /// The certificate of the server, as DER.
    pub(crate) certificate: Vec<u8>,
}

/// Sends a GET request to port 443 of the gateway. Returns an error if the certificate is not valid for the host.
pub(crate) async fn get(gateway: IpAddr, authority: &str, host: &str, path: &str) -> Result<Reply, String> {
    let request = async {
        let stream = TcpStream::connect((gateway, 443)).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut tls = connector(authority).connect(name, stream).await.map_err(|error| error.to_string())?;
        let certificate = tls.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let text = exchange(&mut tls, host, path).await?;
        Ok(Reply { status: status(&text)?, text, certificate })
    };
    tokio::time::timeout(TIMEOUT, request).await.map_err(|_| format!("no answer in {TIMEOUT:?}"))?
}

/// Sends a GET request to port 80 of the gateway. Returns the status and the text of the answer.
pub(crate) async fn get_without_tls(gateway: IpAddr, host: &str, path: &str) -> Result<(u16, String), String> {
    let request = async {
        let mut stream = TcpStream::connect((gateway, 80)).await.map_err(|error| error.to_string())?;
        let text = exchange(&mut stream, host, path).await?;
        Ok((status(&text)?, text))
    };
    tokio::time::timeout(TIMEOUT, request).await.map_err(|_| format!("no answer in {TIMEOUT:?}"))?
}

fn connector(authority: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    TlsConnector::from(Arc::new(config.with_no_client_auth()))
}

async fn exchange<S>(stream: &mut S, host: &str, path: &str) -> Result<String, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn status(text: &str) -> Result<u16, String> {
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.ok_or_else(|| format!("no HTTP answer: {text:?}"))
}
