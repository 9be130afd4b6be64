//! Reads the certificates and keys that a plugin resource refers to. They are read again each time, because users
//! rotate them.

use dask_operator_api::{CertificateRef, HmacRef, KeyRef, KeyRefKind};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client};
use operator_runtime::{k8s, rejection::Rejection};

use super::reasons::{CONFIG_MAP_NOT_FOUND, INVALID_SECRET, SECRET_NOT_FOUND, TLS_ERROR};
use crate::{
    client::{
        signature::Signer,
        tls::{self, Roots},
    },
    pki::certificates::CertificateAndKey,
};

/// Reads objects in one namespace.
pub(crate) struct Materials<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
}

impl Materials<'_> {
    /// Returns the certificate authorities in `tls.caFrom`.
    pub(crate) async fn roots(&self, from: &KeyRef) -> Result<Roots, Rejection> {
        let what = format!("tls.caFrom: the {} {}/{}", from.kind.as_str(), self.namespace, from.name);
        let bytes = match from.kind {
            KeyRefKind::Secret => {
                self.secret("tls.caFrom", &from.name).await?.data.unwrap_or_default().remove(&from.key)
            }
            KeyRefKind::ConfigMap => {
                let found = self.config_map("tls.caFrom", &from.name).await?;
                let text = found.data.unwrap_or_default().remove(&from.key);
                let text = text.map(|text| ByteString(text.into_bytes()));
                text.or_else(|| found.binary_data.unwrap_or_default().remove(&from.key))
            }
        };
        let roots = Roots::Bundle(text(bytes, &what, &from.key)?);
        usable(&roots, None, &format!("{what}, key {}", from.key))?;
        Ok(roots)
    }

    /// Returns the certificate authorities in `tls.caBundle`.
    pub(crate) fn bundle(pem: &str) -> Result<Roots, Rejection> {
        let roots = Roots::Bundle(pem.to_owned());
        usable(&roots, None, "tls.caBundle")?;
        Ok(roots)
    }

    /// Returns the client certificate of the controller.
    pub(crate) async fn identity(&self, from: &CertificateRef) -> Result<CertificateAndKey, Rejection> {
        let what = format!("tls.clientCertificate: the Secret {}/{}", self.namespace, from.secret_name);
        let found = self.secret("tls.clientCertificate", &from.secret_name).await?;
        let mut data = found.data.unwrap_or_default();
        let mut file = |key: &str| text(data.remove(key), &what, key);
        let pair = CertificateAndKey { certificate: file("tls.crt")?, key: file("tls.key")? };
        usable(&Roots::Public, Some(&pair), &what)?;
        Ok(pair)
    }

    /// Returns the signer of requests.
    pub(crate) async fn signer(&self, from: &HmacRef) -> Result<Signer, Rejection> {
        let what = format!("auth.hmac: the Secret {}/{}", self.namespace, from.secret_name);
        let found = self.secret("auth.hmac", &from.secret_name).await?;
        let invalid = |message: String| Rejection::new(INVALID_SECRET, message);
        let bytes = found.data.unwrap_or_default().remove(&from.key);
        let bytes = bytes.ok_or_else(|| invalid(format!("{what} has no key {}", from.key)))?;
        Signer::new(&bytes.0).map_err(|error| invalid(format!("{what}, key {}: {error}", from.key)))
    }

    async fn secret(&self, field: &str, name: &str) -> Result<Secret, Rejection> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace);
        let target = format!("{field}: Secret {}/{name}", self.namespace);
        let found = k8s::timed("get", &target, api.get_opt(name)).await.map_err(|error| failed(&error))?;
        let missing = || format!("{field}: there is no Secret {}/{name}", self.namespace);
        found.ok_or_else(|| Rejection::new(SECRET_NOT_FOUND, missing()))
    }

    async fn config_map(&self, field: &str, name: &str) -> Result<ConfigMap, Rejection> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace);
        let target = format!("{field}: ConfigMap {}/{name}", self.namespace);
        let found = k8s::timed("get", &target, api.get_opt(name)).await.map_err(|error| failed(&error))?;
        let missing = || format!("{field}: there is no ConfigMap {}/{name}", self.namespace);
        found.ok_or_else(|| Rejection::new(CONFIG_MAP_NOT_FOUND, missing()))
    }
}

/// Returns the rejection for a failed request to the API server.
pub(crate) fn failed(error: &k8s::Error) -> Rejection {
    Rejection::new(error.category(), error.message())
}

fn text(bytes: Option<ByteString>, what: &str, key: &str) -> Result<String, Rejection> {
    let bytes = bytes.ok_or_else(|| Rejection::new(TLS_ERROR, format!("{what} has no key {key}")))?;
    String::from_utf8(bytes.0).map_err(|_| Rejection::new(TLS_ERROR, format!("{what}, key {key}: it is not PEM")))
}

fn usable(roots: &Roots, identity: Option<&CertificateAndKey>, what: &str) -> Result<(), Rejection> {
    let checked = tls::config(roots, identity);
    checked.map(drop).map_err(|error| Rejection::new(TLS_ERROR, format!("{what}: {error}")))
}
