//! The certificate files of a plugin.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{RootCertStore, ServerConfig};

use super::TlsError;
use super::verifier::ControllerOnly;

const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// The bytes of the three files. It does not implement `Debug`, since it contains a private key.
#[derive(PartialEq, Eq)]
pub(super) struct TlsFiles {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl TlsFiles {
    pub(super) async fn read(dir: &Path) -> Result<Self, TlsError> {
        // The kubelet replaces all files at once by changing the symlink `..data`. It is resolved once, so that a change
        // between two reads does not combine an old certificate with a new key.
        let resolved = tokio::fs::canonicalize(dir.join("..data")).await;
        let dir = resolved.unwrap_or_else(|_| dir.to_owned());
        let read = async |file: &'static str| {
            let path = dir.join(file);
            let bytes = tokio::fs::read(&path).await;
            bytes.map_err(|source| TlsError::Read { path, source })
        };
        Ok(Self { ca: read(CA).await?, certificate: read(CERTIFICATE).await?, key: read(KEY).await? })
    }

    pub(super) fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(CA, &self.ca)? {
            roots.add(root).map_err(|error| invalid(CA, &error))?;
        }
        let chain = certificates(CERTIFICATE, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| invalid(KEY, &error))?;

        let provider = Arc::new(ring::default_provider());
        let verifier = ControllerOnly::new(roots, &provider).map_err(|error| invalid(CA, &error))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(KEY, &error))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(chain, key)
            .map_err(|error| invalid(KEY, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session would skip the verification of the client certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn certificates(file: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates =
        CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| invalid(file, &error))?;
    if certificates.is_empty() {
        return Err(invalid(file, &"it has no certificate"));
    }
    Ok(certificates)
}

fn invalid(file: &'static str, cause: &dyn std::fmt::Display) -> TlsError {
    TlsError::Invalid { file, cause: cause.to_string() }
}
