//! Maintains the authority that plugins and the controller trust, and the Secrets that plugins mount.

use std::collections::BTreeMap;

use dask_operator_api::{DaskOperatorPlugin, meta};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use operator_runtime::k8s::{self, Class, Force};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    certificates::{self, CertificateAndKey},
    rotation::{Authorities, Issued},
};
use crate::config::CertificateLifetimes;

/// The name of the authority's Secret in the operator's namespace.
pub const CA_SECRET: &str = "dask-operator-plugin-ca";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const PREVIOUS_CERTIFICATE: &str = "previous.crt";
const PREVIOUS_KEY: &str = "previous.key";
/// How often a write of the Secret is tried. Several controllers may run at once: the first write wins, and the others
/// read it.
const WRITE_TRIES: usize = 3;

/// The reason why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}", .0.message())]
    Api(#[from] k8s::Error),
    #[error(transparent)]
    Certificate(#[from] certificates::Error),
    #[error("the Secret {0} exists and was not created by the controller; delete it or rename the plugin")]
    Foreign(String),
    #[error("the Secret {CA_SECRET} exists and was not created by the controller; delete it to have a new one created")]
    ForeignAuthority,
    #[error("the Secret {CA_SECRET} has no usable tls.crt and tls.key; delete it to have a new one created")]
    BrokenAuthority,
}

/// The certificates that the controller needs to connect to a plugin.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The certificates of the trusted authorities, in PEM.
    pub(crate) ca: String,
    /// The controller's certificate.
    pub(crate) client: CertificateAndKey,
    /// The time at which one of them, or the plugin's own certificate, has to be renewed.
    pub(crate) renewal: Timestamp,
}

/// The certificate authority of one operator namespace.
pub(crate) struct Authority {
    secrets: Api<Secret>,
    namespace: String,
    cluster_domain: String,
    lives: CertificateLifetimes,
    /// The controller's own certificate. No Secret stores it; a controller that starts creates a new one.
    client: Mutex<Option<CertificateAndKey>>,
}

impl Authority {
    pub(crate) fn new(client: Client, namespace: &str, cluster_domain: &str, lives: CertificateLifetimes) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            cluster_domain: cluster_domain.to_owned(),
            lives,
            client: Mutex::new(None),
        }
    }

    /// Ensures that the Secret of `plugin` has a certificate for its Service. Returns the certificates that the
    /// controller needs to connect.
    pub(crate) async fn ensure(
        &self,
        plugin: &DaskOperatorPlugin,
        service: &str,
        now: Timestamp,
    ) -> Result<Trust, Error> {
        let authorities = self.authorities(now).await?;
        let name = format!("{}-plugin-tls", plugin.name_any());
        let namespace = plugin.namespace().unwrap_or_else(|| self.namespace.clone());
        let secrets: Api<Secret> = Api::namespaced(self.secrets.clone().into_client(), &namespace);
        let names = self.dns_names(service, &namespace);
        let found = k8s::timed("get", &format!("Secret {name}"), secrets.get_opt(&name)).await?;
        if found.as_ref().is_some_and(|found| !is_ours(found)) {
            return Err(Error::Foreign(name));
        }
        let held = found.as_ref().and_then(issued_in);
        let issued = match authorities.issue(held.as_ref(), &names, now, self.lives)? {
            Some(issued) => {
                let mut manifest = manifest(&namespace, &name, &issued.pair, &issued.bundle);
                manifest["metadata"]["ownerReferences"] =
                    json!(meta::owner_ref(plugin).into_iter().collect::<Vec<_>>());
                k8s::apply(&secrets, k8s::FIELD_MANAGER, Force::Yes, &manifest).await?;
                tracing::info!(plugin = plugin.name_any(), secret = name, "issued a certificate for a plugin");
                Some(issued)
            }
            None => held,
        };
        let client = self.client(&authorities, now).await?;
        let in_use = [Some(&client), issued.as_ref().map(|issued| &issued.pair)];
        let renewal = authorities.next_date(&in_use.into_iter().flatten().collect::<Vec<_>>(), now);
        Ok(Trust { ca: authorities.bundle(), client, renewal })
    }

    fn dns_names(&self, service: &str, namespace: &str) -> Vec<String> {
        vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.{}", self.cluster_domain)]
    }

    /// Returns the controller's certificate. All plugins get the same one until it has to be renewed.
    async fn client(&self, authorities: &Authorities, now: Timestamp) -> Result<CertificateAndKey, Error> {
        let mut held = self.client.lock().await;
        let client = authorities.client(held.take(), now, self.lives)?;
        *held = Some(client.clone());
        Ok(client)
    }

    /// Returns the authorities. They are read each time, because another controller may have created a new one.
    async fn authorities(&self, now: Timestamp) -> Result<Authorities, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let target = format!("Secret {CA_SECRET}");
            let found = k8s::timed("get", &target, self.secrets.get_opt(CA_SECRET)).await?;
            let written = match &found {
                None => {
                    let first = Authorities::found(now, self.lives)?;
                    self.create(&first).await.map(|()| first)
                }
                Some(found) if !is_ours(found) => return Err(Error::ForeignAuthority),
                Some(found) => {
                    let held = authorities_in(found).ok_or(Error::BrokenAuthority)?;
                    let Some(next) = held.next(now, self.lives)? else { return Ok(held) };
                    self.replace(found, &next).await.map(|()| next)
                }
            };
            match written {
                Ok(authorities) => return Ok(authorities),
                Err(error) if tries < WRITE_TRIES && lost_race(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Creates the Secret. It does not use apply, because a second controller must not replace the key of the first.
    async fn create(&self, authorities: &Authorities) -> Result<(), k8s::Error> {
        let target = format!("Secret {CA_SECRET}");
        let params = PostParams { field_manager: Some(k8s::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let manifest = manifest(&self.namespace, CA_SECRET, &authorities.current, &authorities.bundle());
        let create = async {
            let secret: Secret = serde_json::from_value(manifest).map_err(kube::Error::SerdeError)?;
            self.secrets.create(&params, &secret).await
        };
        k8s::timed("create", &target, create).await.map(|_| ())
    }

    /// Writes `authorities`, unless the Secret has changed since `found` was read.
    async fn replace(&self, found: &Secret, authorities: &Authorities) -> Result<(), k8s::Error> {
        let mut manifest = manifest(&self.namespace, CA_SECRET, &authorities.current, &authorities.bundle());
        manifest["metadata"]["uid"] = json!(found.uid());
        manifest["metadata"]["resourceVersion"] = json!(found.resource_version());
        if let Some(previous) = &authorities.previous {
            manifest["data"][PREVIOUS_CERTIFICATE] = json!(bytes(&previous.certificate));
            manifest["data"][PREVIOUS_KEY] = json!(bytes(&previous.key));
        }
        k8s::apply(&self.secrets, k8s::FIELD_MANAGER, Force::Yes, &manifest).await?;
        tracing::info!(
            secret = CA_SECRET,
            trusted = authorities.earlier.len() + 1,
            "rotated the certificate authority of plugins"
        );
        Ok(())
    }
}

fn manifest(namespace: &str, name: &str, pair: &CertificateAndKey, ca: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace, "labels": {MANAGED_BY: k8s::FIELD_MANAGER}},
        "data": {"ca.crt": bytes(ca), "tls.crt": bytes(&pair.certificate), "tls.key": bytes(&pair.key)},
    })
}

fn lost_race(error: &k8s::Error) -> bool {
    matches!(error.class(), Class::Conflict | Class::AlreadyExists | Class::NotFound)
}

fn is_ours(secret: &Secret) -> bool {
    secret.labels().get(MANAGED_BY).map(String::as_str) == Some(k8s::FIELD_MANAGER)
}

fn issued_in(secret: &Secret) -> Option<Issued> {
    let data = secret.data.as_ref()?;
    Some(Issued { bundle: text(data, "ca.crt")?, pair: pair_of(data, "tls.crt", "tls.key")? })
}

fn authorities_in(secret: &Secret) -> Option<Authorities> {
    let data = secret.data.as_ref()?;
    let bundle = text(data, "ca.crt").unwrap_or_default();
    let previous = pair_of(data, PREVIOUS_CERTIFICATE, PREVIOUS_KEY);
    Authorities::read(pair_of(data, "tls.crt", "tls.key")?, previous, &bundle)
}

fn pair_of(data: &BTreeMap<String, ByteString>, certificate: &str, key: &str) -> Option<CertificateAndKey> {
    Some(CertificateAndKey { certificate: text(data, certificate)?, key: text(data, key)? })
}

fn text(data: &BTreeMap<String, ByteString>, key: &str) -> Option<String> {
    String::from_utf8(data.get(key)?.0.clone()).ok().filter(|text| !text.is_empty())
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}
