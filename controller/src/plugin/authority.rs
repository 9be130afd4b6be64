//! Keeps the authority that plugins and the controller trust, and the Secrets that plugins mount.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::certificates::{self, Pair};
use crate::{
    crd::DaskOperatorPlugin,
    k8s::{self, Class, Force},
    meta,
};

/// The Secret that holds the authority, in the operator's namespace.
const CA_SECRET: &str = "dask-operator-plugin-ca";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Several controllers may start at once; the one whose create comes first decides.
const CREATE_TRIES: usize = 3;

/// Why certificates are not to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{}", .0.message())]
    Api(#[from] k8s::Error),
    #[error(transparent)]
    Certificate(#[from] certificates::Error),
    #[error("the Secret {0} exists and is not the controller's; delete it or rename the plugin")]
    Foreign(String),
    #[error("the Secret {CA_SECRET} has no usable tls.crt and tls.key; delete it to have a new one made")]
    BrokenAuthority,
}

/// What one end of a connection to a plugin needs.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Trust {
    /// PEM certificate of the authority.
    pub(super) ca: String,
    /// The controller's certificate.
    pub(super) client: Pair,
}

/// The authority of one operator namespace.
pub(super) struct Authority {
    secrets: Api<Secret>,
    namespace: String,
    cluster_domain: String,
    /// The authority and the controller's own certificate, once known.
    held: Mutex<Option<(Pair, Pair)>>,
}

impl Authority {
    pub(super) fn new(client: Client, namespace: &str, cluster_domain: &str) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            cluster_domain: cluster_domain.to_owned(),
            held: Mutex::new(None),
        }
    }

    /// Sees to it that the Secret of `plugin` holds a certificate for its Service, and returns what the
    /// controller needs to connect.
    pub(super) async fn ensure(
        &self,
        plugin: &DaskOperatorPlugin,
        service: &str,
        now: Timestamp,
    ) -> Result<Trust, Error> {
        let (ca, client) = self.hold(now).await?;
        let name = format!("{}-plugin-tls", plugin.name_any());
        let namespace = plugin.namespace().unwrap_or_else(|| self.namespace.clone());
        let names = self.dns_names(service, &namespace);
        let secrets: Api<Secret> = Api::namespaced(self.secrets.clone().into_client(), &namespace);
        let found = k8s::timed("get", &format!("Secret {name}"), secrets.get_opt(&name)).await?;
        if let Some(found) = &found {
            if found.labels().get(MANAGED_BY).map(String::as_str) != Some(k8s::FIELD_MANAGER) {
                return Err(Error::Foreign(name));
            }
            if is_current(found, &ca, &names, now) {
                return Ok(Trust { ca: ca.certificate, client });
            }
        }
        let pair = certificates::make_server(&ca, &names, now)?;
        let mut manifest = self.manifest(&name, &pair, &ca.certificate, meta::owner_ref(plugin));
        manifest["metadata"]["namespace"] = json!(namespace);
        k8s::apply(&secrets, k8s::FIELD_MANAGER, Force::Yes, &manifest).await?;
        tracing::info!(plugin = plugin.name_any(), secret = name, "issued a certificate for a plugin");
        Ok(Trust { ca: ca.certificate, client })
    }

    fn dns_names(&self, service: &str, namespace: &str) -> Vec<String> {
        vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.{}", self.cluster_domain)]
    }

    /// The authority, read or made, and a client certificate that is not about to expire.
    async fn hold(&self, now: Timestamp) -> Result<(Pair, Pair), Error> {
        let mut held = self.held.lock().await;
        if let Some((ca, client)) = held.as_ref()
            && !certificates::needs_renewal(&client.certificate, now)
        {
            return Ok((ca.clone(), client.clone()));
        }
        let ca = self.read_or_make(now).await?;
        let client = certificates::make_client(&ca, now)?;
        *held = Some((ca.clone(), client.clone()));
        Ok((ca, client))
    }

    async fn read_or_make(&self, now: Timestamp) -> Result<Pair, Error> {
        for _ in 0..CREATE_TRIES {
            let target = format!("Secret {CA_SECRET}");
            if let Some(found) = k8s::timed("get", &target, self.secrets.get_opt(CA_SECRET)).await? {
                return pair_of(&found).ok_or(Error::BrokenAuthority);
            }
            let ca = certificates::make_ca(now)?;
            let secret: Secret = serde_json::from_value(self.manifest(CA_SECRET, &ca, &ca.certificate, None))
                .map_err(|_| Error::BrokenAuthority)?;
            // Create and not apply: whoever comes second must not replace the first one's key.
            let params = PostParams { field_manager: Some(k8s::FIELD_MANAGER.to_owned()), ..PostParams::default() };
            match k8s::timed("create", &target, self.secrets.create(&params, &secret)).await {
                Ok(_) => return Ok(ca),
                Err(error) if matches!(error.class(), Class::Conflict | Class::AlreadyExists) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::BrokenAuthority)
    }

    fn manifest(&self, name: &str, pair: &Pair, ca: &str, owner: Option<OwnerReference>) -> Value {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": {MANAGED_BY: k8s::FIELD_MANAGER},
                "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
            },
            "data": {"ca.crt": bytes(ca), "tls.crt": bytes(&pair.certificate), "tls.key": bytes(&pair.key)},
        })
    }
}

fn is_current(secret: &Secret, ca: &Pair, names: &[String], now: Timestamp) -> bool {
    let Some(data) = &secret.data else { return false };
    let Some(pair) = pair_of(secret) else { return false };
    text(data, "ca.crt").as_deref() == Some(&ca.certificate)
        && !certificates::needs_renewal(&pair.certificate, now)
        && certificates::is_for(&pair.certificate, names)
}

fn pair_of(secret: &Secret) -> Option<Pair> {
    let data = secret.data.as_ref()?;
    Some(Pair { certificate: text(data, "tls.crt")?, key: text(data, "tls.key")? })
}

fn text(data: &BTreeMap<String, ByteString>, key: &str) -> Option<String> {
    String::from_utf8(data.get(key)?.0.clone()).ok().filter(|text| !text.is_empty())
}
