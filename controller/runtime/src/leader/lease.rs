//! Reads and writes the Lease.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::decide::{self, Timing};
use crate::k8s::{self, Class};

/// Writes that may meet another one on the way out.
const RELEASES: usize = 3;

/// One Lease.
pub(super) struct LeaseClient {
    pub api: Api<Lease>,
    pub name: String,
    namespace: String,
    /// How long a request may take.
    limit: Duration,
}

impl fmt::Display for LeaseClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl LeaseClient {
    pub(super) fn new(client: Client, namespace: &str, name: String, limit: Duration) -> Self {
        Self { api: Api::namespaced(client, namespace), name, namespace: namespace.to_owned(), limit }
    }

    pub(super) async fn get(&self) -> Result<Option<Lease>, k8s::Error> {
        self.timed("get", self.api.get_opt(&self.name)).await
    }

    /// Writes `record` in the place of `object`, unless that is not what stands there any more.
    pub(super) async fn write(&self, object: Option<Lease>, record: LeaseSpec) -> Result<Lease, k8s::Error> {
        let params = PostParams { field_manager: Some(k8s::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        if let Some(object) = object {
            let lease = Lease { spec: Some(record), ..object };
            return self.timed("replace", self.api.replace(&self.name, &params, &lease)).await;
        }
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(record) };
        self.timed("create", self.api.create(&params, &lease)).await
    }

    /// Lets another lead at once, if `identity` holds the Lease. A write of before may still be on its way, which
    /// the next one then meets.
    pub(super) async fn release(&self, identity: &str, timing: Timing) {
        for _ in 0..RELEASES {
            match self.try_release(identity).await {
                Ok(true) => tracing::info!(lease = %self, "released the Lease"),
                Ok(false) => {}
                Err(error) if error.class() == Class::Conflict => continue,
                Err(error) => {
                    let seconds = timing.lease().as_secs();
                    tracing::warn!(lease = %self, %error, "the Lease was not released and runs out in {seconds} s");
                }
            }
            return;
        }
    }

    async fn try_release(&self, identity: &str) -> Result<bool, k8s::Error> {
        let Some(object) = self.get().await? else { return Ok(false) };
        let record = object.spec.clone().unwrap_or_default();
        if record.holder_identity.as_deref() != Some(identity) {
            return Ok(false);
        }
        self.write(Some(object), decide::released(&record, Timestamp::now())).await.map(|_| true)
    }

    async fn timed<T>(&self, verb: &'static str, call: impl Future<Output = kube::Result<T>>) -> Result<T, k8s::Error> {
        k8s::timed_within(self.limit, verb, &format!("Lease {self}"), call).await
    }
}
