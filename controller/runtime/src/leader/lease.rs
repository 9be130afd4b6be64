//! Reads and writes the Lease.
//!
//! A Lease may be unreadable: the API server accepts times that do not parse, such as those after the year 9999.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    core::Request,
};

use super::{
    Settings,
    decide::{self, Timing},
};
use crate::{
    k8s::{self, Class},
    received::Received,
};

/// The label of the Leases of this operator.
pub(crate) const LABEL: &str = "kubernetes.dask.org/release";
/// The annotation of a Lease with the namespaces that its holder watches.
pub(crate) const WATCHES: &str = "kubernetes.dask.org/watches";

/// The number of attempts to release the Lease. Each may conflict with an earlier write that is still in flight.
const RELEASES: usize = 3;

/// The client of one Lease.
pub(super) struct LeaseClient {
    pub(super) api: Api<Received<Lease>>,
    pub(super) name: String,
    namespace: String,
    /// What the annotation says that the leader watches.
    watches: String,
    /// How long one request may take.
    limit: Duration,
}

impl fmt::Display for LeaseClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl LeaseClient {
    pub(super) fn new(client: Client, settings: &Settings, limit: Duration) -> Self {
        Self {
            api: Api::namespaced(client, &settings.namespace),
            name: settings.name.clone(),
            namespace: settings.namespace.clone(),
            watches: settings.watches.to_text(),
            limit,
        }
    }

    pub(super) async fn get(&self) -> Result<Option<Received<Lease>>, k8s::Error> {
        self.timed("get", self.api.get_opt(&self.name)).await
    }

    /// Replaces `object` by `record`. Fails with a conflict if the stored Lease is not `object` any more.
    pub(super) async fn write(&self, object: Option<Lease>, record: LeaseSpec) -> Result<Lease, k8s::Error> {
        let verb = if object.is_some() { "replace" } else { "create" };
        let received = self.timed(verb, self.put_or_post(object, &record)).await?;
        Ok(match received {
            Received::Readable { object, .. } => object,
            // The record that was written is known, even if the response cannot be read.
            Received::Unreadable(unreadable) => Lease { metadata: unreadable.metadata, spec: Some(record) },
        })
    }

    /// Does what `Api::replace` and `Api::create` do, which cannot read every response.
    async fn put_or_post(&self, object: Option<Lease>, record: &LeaseSpec) -> kube::Result<Received<Lease>> {
        let params = PostParams { field_manager: Some(k8s::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let is_there = object.is_some();
        let new = || ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let mut metadata = object.map_or_else(new, |object| object.metadata);
        // The managers were read without their fields. The API server keeps its own.
        metadata.managed_fields = None;
        metadata.labels.get_or_insert_default().insert(LABEL.to_owned(), String::new());
        metadata.annotations.get_or_insert_default().insert(WATCHES.to_owned(), self.watches.clone());
        let lease = Lease { metadata, spec: Some(record.clone()) };
        let body = serde_json::to_vec(&lease).map_err(kube::Error::SerdeError)?;
        let request = Request::new(self.api.resource_url());
        let request = if is_there { request.replace(&self.name, &params, body) } else { request.create(&params, body) };
        self.api.clone().into_client().request(request.map_err(kube::Error::BuildRequest)?).await
    }

    /// Releases the Lease if `identity` holds it, so that another process can lead at once. If an earlier write was
    /// still in flight, the release may fail with a conflict and is tried again.
    pub(super) async fn release(&self, identity: &str, timing: Timing) {
        for _ in 0..RELEASES {
            match self.try_release(identity).await {
                Ok(true) => tracing::info!(lease = %self, "released the Lease"),
                Ok(false) => {}
                Err(error) if error.class() == Class::Conflict => continue,
                Err(error) => {
                    let seconds = timing.lease().as_secs();
                    tracing::warn!(lease = %self, %error, "the Lease was not released and expires in {seconds} s");
                }
            }
            return;
        }
    }

    async fn try_release(&self, identity: &str) -> Result<bool, k8s::Error> {
        let Some(Received::Readable { object, .. }) = self.get().await? else { return Ok(false) };
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
