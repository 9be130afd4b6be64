//! Creates a group's missing workers, updates their labels and annotations, and sets the group's owner.

use std::{
    fmt::Debug,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dask_operator_api::DaskWorkerGroup;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{ApiResource, NamespaceResourceScope},
};
use operator_runtime::{
    conditions::ConditionUpdate,
    k8s::{self, Class, Creation, Warned, Warnings},
    watch::{Cache, Expectations},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    build,
    observe::WORKER,
    scale::WorkerId,
    validate::ValidatedGroup,
    worker_warnings,
    writes::{Change, Writes},
};
use crate::ownership;

/// Number of a group's Deployments that are written concurrently.
const PARALLEL: usize = 8;
/// A pass starts no write after this time, so that the group is observed again and other groups get their turn.
const BUDGET: Duration = Duration::from_secs(5);
/// A creation that has not been allowed to start within this time is left to the next pass.
const TURN: Duration = Duration::from_secs(10);
/// How often a creation that waits for its turn checks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// Why a group could not be brought to its spec.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server rejected a request, or could not be reached.
    #[error(transparent)]
    Api(#[from] k8s::Error),
    /// A worker's name is taken.
    #[error("Deployment {0} exists and does not belong to this group; delete it")]
    NameTaken(String),
}

impl Error {
    /// Returns whether the API server rejected the request and would reject a retry as well.
    fn is_refusal(&self) -> bool {
        let refusals = [Class::Forbidden, Class::NamespaceEnding, Class::Rejection, Class::Throttled, Class::NotFound];
        matches!(self, Self::Api(error) if refusals.contains(&error.class()))
    }

    /// Returns whether the namespace is being deleted: nothing can be created there, and the group is deleted as well.
    pub(super) fn is_of_ending_namespace(&self) -> bool {
        matches!(self, Self::Api(error) if error.class() == Class::NamespaceEnding)
    }

    /// Returns the condition `Accepted` of a group whose workers the API server refused.
    pub(super) fn refusal(&self) -> Option<ConditionUpdate> {
        match self {
            Self::Api(error) => error.refusal(),
            Self::NameTaken(_) => None,
        }
    }

    /// Returns one sentence for conditions, which the object's author reads.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Api(error) => error.message(),
            Self::NameTaken(_) => self.to_string(),
        }
    }

    /// Returns a constant word for conditions, metrics and logs.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Api(error) => error.category(),
            Self::NameTaken(_) => "NameTaken",
        }
    }
}

/// The result of [`apply`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// A worker was created, which the caches do not contain yet.
    pub(super) made: bool,
    /// The pass stopped before all was written: the group has changed, or the pass took too long.
    pub(super) cut: bool,
    /// More labels and annotations are to be written when the caches contain the written ones.
    pub(super) updating: bool,
}

/// What workers are written with.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) client: &'a Client,
    pub(super) expectations: &'a Expectations,
    /// The groups, by which a pass notices that it is no longer current.
    pub(super) groups: &'a Cache<DaskWorkerGroup>,
}

/// One pass over a group that writes.
struct Pass<'a> {
    writer: Writer<'a>,
    group: &'a DaskWorkerGroup,
    valid: &'a ValidatedGroup,
    begin: Instant,
    /// What the API server warned about when the pass created workers. `None` if it created none.
    warnings: Mutex<Option<Warnings>>,
}

/// Sets the group's owner if it has none, then creates and updates the workers. A failing worker does not stop the
/// others.
pub(super) async fn apply(
    writer: Writer<'_>,
    group: &DaskWorkerGroup,
    valid: &ValidatedGroup,
    planned: Writes,
) -> Result<Applied, Error> {
    if let Some(owner) = &valid.adopt_by {
        ownership::adopt(writer.client, group, owner).await?;
    }
    let pass = Pass { writer, group, valid, begin: Instant::now(), warnings: Mutex::default() };
    let created = pass.create(planned.create).await;
    let updated = pass.update(planned.update).await;
    let restored = pass.update(planned.restore).await;
    let warnings = pass.warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
    worker_warnings::record(writer.client, group, &valid.template, warnings).await?;
    let (created, updated, restored) = (created?, updated?, restored?);
    Ok(Applied { updating: updated.cut || restored.cut || planned.more, ..created })
}

impl Pass<'_> {
    /// Returns whether another write may start: there is time left, and the pass is still current.
    fn goes_on(&self) -> bool {
        self.begin.elapsed() < BUDGET && self.is_current()
    }

    /// Returns whether the cached group still is the version that the pass is about. A group that was never cached is.
    fn is_current(&self) -> bool {
        let cached = self.writer.groups.get(&self.valid.namespace, &self.valid.name);
        cached.is_none_or(|cached| {
            let (cached, seen) = (&cached.metadata, &self.group.metadata);
            let is_same = cached.uid == seen.uid && cached.deletion_timestamp.is_none();
            is_same && cached.generation <= seen.generation
        })
    }

    /// Creates workers in order, so that the same problem always gives the same message; otherwise each pass would
    /// write the status. Stops at the first refusal: a quota that rejects one worker rejects the other thousand too.
    async fn create(&self, ids: Vec<WorkerId>) -> Result<Applied, Error> {
        let mut applied = Ok(Applied::default());
        let begun = ids.into_iter().map(|id| self.goes_on().then_some(id));
        let mut creations = stream::iter(begun).map(|id| self.create_one(id)).buffered(PARALLEL);
        while let Some(result) = creations.next().await {
            let stop = result.as_ref().map_or_else(Error::is_refusal, |one| one.cut);
            applied = applied.and_then(|before: Applied| {
                result.map(|one| Applied { made: before.made || one.made, cut: before.cut || one.cut, ..before })
            });
            if stop {
                break;
            }
        }
        applied
    }

    /// Creates one worker. `None` stands for a worker for which no time is left.
    async fn create_one(&self, id: Option<WorkerId>) -> Result<Applied, Error> {
        let cut = Applied { cut: true, ..Applied::default() };
        let Some(id) = id else { return Ok(cut) };
        let creating = tokio::select! {
            biased;
            creating = self.writer.expectations.begin(&self.valid.namespace, WORKER) => creating,
            () = self.superseded() => return Ok(cut),
        };
        if !self.is_current() {
            return Ok(cut);
        }
        let (manifest, owner) = (build::build_worker(self.valid, &id), &self.valid.owner.uid);
        let resource = ApiResource::erase::<Deployment>(&());
        match k8s::create(self.writer.client, &resource, &manifest, owner).await? {
            Creation::Made(warned) => {
                creating.made(owner, manifest["metadata"]["name"].as_str().unwrap_or_default());
                self.note(warned);
                Ok(Applied { made: true, ..Applied::default() })
            }
            Creation::Stands => Ok(Applied::default()),
            Creation::Foreign(found) => Err(Error::NameTaken(found.name_any())),
        }
    }

    /// Waits until the group is no longer the version that the pass is about, or the pass has taken too long.
    async fn superseded(&self) {
        while self.begin.elapsed() < TURN && self.is_current() {
            sleep(LOOK).await;
        }
    }

    fn note(&self, warned: Option<Warned>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let warnings = warnings.get_or_insert_default();
        warnings.extend(&warned.map(|warned| warned.warnings).unwrap_or_default());
    }

    async fn update<K>(&self, changes: Vec<Change<K>>) -> Result<Applied, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::namespaced(self.writer.client.clone(), &self.valid.namespace);
        let begun = changes.into_iter().map(|change| self.goes_on().then_some(change));
        let mut updates = stream::iter(begun).map(|change| update_one(&api, change)).buffered(PARALLEL);
        let mut all = Ok(Applied::default());
        while let Some(result) = updates.next().await {
            let cut = result.as_ref().is_ok_and(|one| one.cut);
            all = all.and_then(|before: Applied| result.map(|one| Applied { cut: before.cut || one.cut, ..one }));
            if cut {
                break;
            }
        }
        all
    }
}

async fn update_one<K>(api: &Api<K>, change: Option<Change<K>>) -> Result<Applied, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let Some(Change { live, metadata }) = change else {
        return Ok(Applied { cut: true, ..Applied::default() });
    };
    match k8s::merge(api, &live, json!({"metadata": metadata})).await {
        // The object was deleted or replaced in between.
        Err(error) if error.is_outdated() => Ok(Applied::default()),
        result => result.map(|_| Applied::default()).map_err(Error::Api),
    }
}
