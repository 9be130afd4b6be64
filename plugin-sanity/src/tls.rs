//! The TLS configuration: trusted CA certificates and the client certificate.

use std::{path::Path, sync::Arc};

use dask_plugin_server::tls::CONTROLLER_NAME;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{
    Error,
    credentials::{Certificate, Credentials},
};

pub(crate) fn config(ca: Option<&Path>, credentials: &Credentials) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in ca.map(certificates).transpose()?.into_iter().flatten() {
        roots.add(certificate).map_err(|error| Error::Endpoint(error.to_string()))?;
    }
    let failed = |error: rustls::Error| Error::Endpoint(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots);
    let (chain, key) = match &credentials.certificate {
        None => return Ok(builder.with_no_client_auth()),
        Some(Certificate::Forged) => forged()?,
        Some(Certificate::Files { certificate, key }) => {
            let der = PrivateKeyDer::from_pem_file(key).map_err(|error| bad_pem(key, &error))?;
            (certificates(certificate)?, der)
        }
    };
    builder.with_client_auth_cert(chain, key).map_err(failed)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| bad_pem(path, &error))?;
    all.collect::<Result<_, _>>().map_err(|error| bad_pem(path, &error))
}

fn bad_pem(path: &Path, error: &rustls::pki_types::pem::Error) -> Error {
    Error::File { path: path.to_owned(), cause: error.to_string() }
}

/// Creates a self-signed certificate with the name of the controller.
fn forged() -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Endpoint(format!("failed to create a certificate: {error}"));
    let made = rcgen::generate_simple_self_signed([CONTROLLER_NAME.to_owned()]).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|error| failed(&error))?;
    Ok((vec![made.cert.der().clone()], key))
}
