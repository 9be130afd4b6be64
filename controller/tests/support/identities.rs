//! Invalid certificates of plugins.

use std::sync::Arc;

use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::TestContext;

/// The certificate that a plugin presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The one that the controller issued for it.
    Proper,
    /// An expired certificate of the controller's authority for the right name.
    Expired,
    /// A certificate of another authority for the right name.
    Foreign,
    /// The certificate of another plugin.
    Stolen(&'static str),
    /// None: it speaks plain HTTP.
    None,
    /// None: it accepts connections and never responds.
    Mute,
}

/// PEM certificate and key.
struct Pem {
    certificate: String,
    key: String,
}

/// Returns the TLS configuration of the plugin `name`, `None` without TLS. It asks clients for no certificate.
pub(crate) async fn server_config(context: &TestContext, name: &str, identity: Identity) -> Option<Arc<ServerConfig>> {
    let host = format!("{name}.{}.svc", context.namespace);
    let pem = match identity {
        Identity::Proper => of_secret(context, &format!("{name}-plugin-tls")).await,
        Identity::Stolen(other) => of_secret(context, &format!("{other}-plugin-tls")).await,
        Identity::Expired => issue(&of_secret(context, "dask-operator-plugin-ca").await, &host, 2021),
        Identity::Foreign => issue(&make_authority(), &host, 2121),
        Identity::None | Identity::Mute => return None,
    };
    let chain = CertificateDer::pem_slice_iter(pem.certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Some(Arc::new(config))
}

async fn of_secret(context: &TestContext, name: &str) -> Pem {
    let secret = context.appears("Secret", name).await;
    let file = |file: &str| {
        let bytes: ByteString = serde_json::from_value(secret["data"][file].clone()).unwrap();
        String::from_utf8(bytes.0).unwrap()
    };
    Pem { certificate: file("tls.crt"), key: file("tls.key") }
}

fn make_authority() -> Pem {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Pem { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Issues a server certificate that is valid until the first day of a year.
fn issue(authority: &Pem, host: &str, until: i32) -> Pem {
    let issuer_key = KeyPair::from_pem(&authority.key).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, issuer_key).unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    Pem { certificate: params.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() }
}
