//! Reads a group and its workers from the API server, where a cache is not enough.

use dask_operator_api::{DaskWorkerGroup, meta};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, ObjectMeta, PartialObjectMeta},
};
use operator_runtime::k8s;

use super::{
    deletion_order::{Candidate, RemovalCost},
    observe::{creation, is_going},
};
use crate::{template_version::TemplateVersion, view::DeploymentView};

/// Number of workers that the API server returns per page.
const PAGE: u32 = 500;

/// Reads one group and its workers from the API server. It cannot write.
pub(super) struct LiveReader<'a> {
    client: &'a Client,
    pub(super) group: &'a DaskWorkerGroup,
}

/// A group and its workers, read from the API server.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) group: DaskWorkerGroup,
    pub(super) workers: Vec<ObjectMeta>,
}

impl<'a> LiveReader<'a> {
    pub(super) fn new(client: &'a Client, group: &'a DaskWorkerGroup) -> Self {
        Self { client, group }
    }

    /// Reads the group and its workers, before a removal. A stale cache would still contain a worker that has just been
    /// removed, and one worker too many would be removed. `None` if the group is gone.
    pub(super) async fn live(&self) -> Result<Option<Live>, k8s::Error> {
        let api: Api<DaskWorkerGroup> = Api::namespaced(self.client.clone(), &self.namespace());
        let found = k8s::timed("get", "the worker group", api.get_opt(&self.group.name_any())).await?;
        let Some(found) = found.filter(|found| found.uid() == self.group.uid() && !is_going(&found.metadata)) else {
            return Ok(None);
        };
        Ok(Some(Live { group: found, workers: self.workers().await? }))
    }

    /// Returns the workers of the group.
    pub(super) async fn workers(&self) -> Result<Vec<ObjectMeta>, k8s::Error> {
        let (name, uid) = (self.group.name_any(), self.group.uid().unwrap_or_default());
        // The list does not select by component, because the watch does already.
        let mut params = ListParams::default().labels(&format!("{}={name}", meta::WORKER_GROUP)).limit(PAGE);
        let (api, mut workers) = (self.deployments(), Vec::new());
        loop {
            let list = k8s::timed("list", "worker Deployments", api.list_metadata(&params)).await?;
            let ours = |worker: &PartialObjectMeta<DeploymentView>| {
                k8s::is_controlled_by(worker, &uid)
                    && meta::is_worker_name(&name, &worker.name_any())
                    && !is_going(&worker.metadata)
            };
            let page = list.items.into_iter().filter(ours);
            workers.extend(page.map(|worker| ObjectMeta { managed_fields: None, ..worker.metadata }));
            let Some(token) = list.metadata.continue_.filter(|token| !token.is_empty()) else { return Ok(workers) };
            params = params.continue_token(&token);
        }
    }

    /// Returns the worker `name` of the group, if it exists and is not being deleted.
    pub(super) async fn worker(&self, name: &str) -> Result<Option<ObjectMeta>, k8s::Error> {
        let uid = self.group.uid().unwrap_or_default();
        let found = k8s::timed("get", name, self.deployments().get_metadata_opt(name)).await?;
        let found = found.filter(|worker| k8s::is_controlled_by(worker, &uid) && !is_going(&worker.metadata));
        Ok(found.map(|worker| ObjectMeta { managed_fields: None, ..worker.metadata }))
    }

    fn deployments(&self) -> Api<DeploymentView> {
        Api::namespaced(self.client.clone(), &self.namespace())
    }

    fn namespace(&self) -> String {
        self.group.namespace().unwrap_or_default()
    }
}

impl Live {
    /// Returns the workers as candidates for removal, before their cost is known.
    pub(super) fn candidates(&self, template: &TemplateVersion, rolling: bool) -> Vec<Candidate> {
        let candidate = |worker: &ObjectMeta| {
            Some(Candidate {
                name: worker.name.clone()?,
                uid: worker.uid.clone()?,
                created: creation(worker),
                outdated: rolling && template.is_outdated(worker),
                standing: RemovalCost::Unknown,
            })
        };
        self.workers.iter().filter_map(candidate).collect()
    }
}
