//! Removes workers that are too many or of an old template, without losing what they hold.
//!
//! A worker that the scheduler knows is first retired: the scheduler moves its data elsewhere and forgets it.
//! Its Deployment is deleted right then, before the kubelet starts the process anew. The scheduler may refuse,
//! if a worker holds what nobody else can take; it is kept, and another one is asked for.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    runtime::events::{Event, EventType},
};
use serde_json::json;

use super::{
    observe::{self, Live, Observed},
    retiring::Retiring,
    validate::ValidatedGroup,
    victims::{self, Candidate, Demand, Scheduler, Standing},
};
use crate::{
    context::Context,
    crd::{DaskCluster, DaskWorkerGroup},
    invalid::Invalid,
    k8s, meta, scheduler,
    view::DeploymentView,
};

/// Workers that are retired in one conversation.
const AT_ONCE: usize = 100;
/// Deployments that are deleted at the same time.
const PARALLEL: usize = 8;
/// How often other workers are asked for in one pass, after the scheduler refused some.
const ATTEMPTS: usize = 32;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// Why workers are still there that should go.
    pub(super) waiting: Option<Invalid>,
    /// More is to be done at once.
    pub(super) unfinished: bool,
}

/// Whether there is anything to remove, as far as the caches know.
pub(super) fn is_needed(group: &DaskWorkerGroup, valid: &ValidatedGroup, observed: &Observed) -> bool {
    let outdated = || observed.deployments.iter().any(|worker| observe::is_outdated(&worker.metadata, &valid.template));
    observed.workers.names.len() > valid.replicas
        || (valid.rolling && outdated())
        || group.annotations().contains_key(meta::RETIRING)
}

/// One removal under way.
struct Remover<'a> {
    context: &'a Context,
    valid: &'a ValidatedGroup,
    live: Live,
    retiring: Retiring,
    now: Timestamp,
}

/// Removes what is to go, as far as that is possible now.
pub(super) async fn remove(
    context: &Context,
    group: &DaskWorkerGroup,
    (valid, observed): (&ValidatedGroup, &Observed),
) -> Result<Removal, k8s::Error> {
    let Some(cluster) = observed.cluster.as_deref() else { return Ok(Removal::default()) };
    let Some(live) = observe::observe_live(group, context).await? else {
        return Ok(Removal::default());
    };
    let mut candidates = live.candidates(&valid.template, valid.rolling);
    let replicas = usize::try_from(live.group.spec.worker.replicas).unwrap_or(0);
    let surplus = candidates.len().saturating_sub(replicas);
    let demand = Demand { surplus, replicas, max_unavailable: valid.max_unavailable.of(replicas) };
    let mut remover = Remover { retiring: Retiring::of(&live.group), now: Timestamp::now(), context, valid, live };
    if surplus == 0 && !candidates.iter().any(|candidate| candidate.outdated) {
        remover.record(None).await?;
        return Ok(Removal::default());
    }
    let scheduler = ask(context, cluster, observed, &candidates).await;
    for candidate in &mut candidates {
        candidate.standing = victims::standing(&candidate.name, observed.pods_of(&candidate.name), &scheduler);
    }
    remover.carry_out(candidates, demand, (cluster, &scheduler)).await
}

async fn ask(context: &Context, cluster: &DaskCluster, observed: &Observed, candidates: &[Candidate]) -> Scheduler {
    if !scheduler::is_running(cluster, &observed.scheduler_pods) {
        return Scheduler::Gone;
    }
    let answer = async {
        let client = scheduler::client_of(context, cluster).await?;
        let workers = client.workers().await?;
        let names = candidates.iter().map(|candidate| candidate.name.as_str());
        let pods = observed.pods.values().flatten().map(AsRef::as_ref);
        let registered = super::registered::registered(names, pods, &workers);
        let order = client.closing_order(if registered.is_empty() { 0 } else { workers.len() }).await?;
        Ok(Scheduler::Answers { registered, order })
    };
    answer.await.unwrap_or_else(Scheduler::Silent)
}

impl Remover<'_> {
    async fn carry_out(
        &mut self,
        mut candidates: Vec<Candidate>,
        mut demand: Demand,
        (cluster, scheduler): (&DaskCluster, &Scheduler),
    ) -> Result<Removal, k8s::Error> {
        let mut removal = Removal::default();
        for _ in 0..ATTEMPTS {
            let chosen = victims::choose(&candidates, &self.retiring.workers, demand);
            let (held, free): (Vec<&Candidate>, Vec<&Candidate>) = chosen
                .into_iter()
                .partition(|victim| matches!(victim.standing, Standing::Registered { .. } | Standing::Unknown));
            self.delete(&free).await?;
            removal.unfinished |= held.len() > AT_ONCE;
            let held = &held[..held.len().min(AT_ONCE)];
            let kept = self.retire(held, (cluster, scheduler)).await?;
            let gone = |candidate: &Candidate| {
                let name = &candidate.name;
                free.iter().chain(held).any(|victim| victim.name == *name) && !kept.names.contains(name)
            };
            let removed: BTreeSet<String> =
                candidates.iter().filter(|candidate| gone(candidate)).map(|candidate| candidate.name.clone()).collect();
            // A worker that was refused is no candidate for the rest of this pass.
            candidates.retain(|candidate| !removed.contains(&candidate.name) && !kept.names.contains(&candidate.name));
            demand.surplus = demand.surplus.saturating_sub(removed.len());
            let try_others = kept.refused && demand.surplus > 0 && !candidates.is_empty();
            removal.waiting = kept.why;
            if !try_others {
                break;
            }
        }
        if removal.waiting.is_none() {
            self.record(None).await?;
        }
        Ok(removal)
    }

    /// Retires `held` and deletes those that the scheduler let go.
    async fn retire(
        &mut self,
        held: &[&Candidate],
        (cluster, scheduler): (&DaskCluster, &Scheduler),
    ) -> Result<Kept, k8s::Error> {
        if held.is_empty() {
            return Ok(Kept::default());
        }
        let since = self.retiring.since.unwrap_or(self.now);
        // Those that were refused before stay on record, so that asking again and again writes nothing.
        let here: BTreeSet<&String> = self.live.workers.iter().filter_map(|worker| worker.name.as_ref()).collect();
        let before = self.retiring.workers.iter().filter(|name| here.contains(name)).cloned();
        let workers = held.iter().map(|victim| victim.name.clone()).chain(before).collect();
        self.record(Some(Retiring { since: Some(since), workers })).await?;
        let retired = match scheduler {
            Scheduler::Silent(error) => Err(error.clone()),
            _ => retire_processes(self.context, cluster, held).await,
        };
        let confirmed = retired.as_ref().cloned().unwrap_or_default();
        let (mut done, kept): (Vec<&Candidate>, Vec<&Candidate>) = held.iter().partition(|victim| {
            let Standing::Registered { addresses, .. } = &victim.standing else { return false };
            addresses.iter().all(|address| confirmed.contains(address))
        });
        if !kept.is_empty() && self.retiring.is_overdue(self.valid.worker.retire_deadline_seconds, self.now) {
            self.tell_forced(&kept).await;
            done.extend(kept);
            self.delete(&done).await?;
            return Ok(Kept::default());
        }
        self.delete(&done).await?;
        Ok(Kept::of(&kept, retired.err()))
    }

    async fn delete(&self, victims: &[&Candidate]) -> Result<(), k8s::Error> {
        let api: Api<DeploymentView> = Api::namespaced(self.context.client.clone(), &self.valid.namespace);
        let delete = |victim: &Candidate| {
            let (api, name, uid) = (api.clone(), victim.name.clone(), victim.uid.clone());
            async move { k8s::delete(&api, &name, &uid).await }
        };
        let deletions: Vec<_> = victims.iter().map(|victim| delete(victim)).collect();
        let results: Vec<_> = stream::iter(deletions).buffer_unordered(PARALLEL).collect().await;
        if !victims.is_empty() {
            let names: Vec<&str> = victims.iter().map(|victim| victim.name.as_str()).collect();
            tracing::info!(group = self.valid.name, namespace = self.valid.namespace, ?names, "workers removed");
        }
        results.into_iter().collect()
    }

    /// Writes down what is being retired, unless the group says so already.
    async fn record(&mut self, retiring: Option<Retiring>) -> Result<(), k8s::Error> {
        let retiring = retiring.unwrap_or_default();
        if self.retiring == retiring {
            return Ok(());
        }
        let api: Api<DaskWorkerGroup> = Api::namespaced(self.context.client.clone(), &self.valid.namespace);
        let patch = json!({"metadata": {"annotations": {meta::RETIRING: retiring.annotation()}}});
        k8s::merge(&api, &self.live.group, patch).await?;
        self.retiring = retiring;
        Ok(())
    }

    async fn tell_forced(&self, kept: &[&Candidate]) {
        let names: Vec<&str> = kept.iter().map(|victim| victim.name.as_str()).collect();
        let event = Event {
            type_: EventType::Warning,
            reason: "RetirementForced".to_owned(),
            note: Some(format!("removed without the scheduler's consent after the deadline: {}", names.join(", "))),
            action: "Retire".to_owned(),
            secondary: None,
        };
        crate::report::publish(&self.context.recorder, &self.live.group, event).await;
    }
}

/// Workers that could not be retired.
#[derive(Debug, Default)]
struct Kept {
    names: BTreeSet<String>,
    /// The scheduler answered, so others may be let go.
    refused: bool,
    why: Option<Invalid>,
}

impl Kept {
    fn of(kept: &[&Candidate], error: Option<scheduler::Error>) -> Self {
        let names: BTreeSet<String> = kept.iter().map(|victim| victim.name.clone()).collect();
        let why = match &error {
            _ if names.is_empty() => None,
            Some(error) => Some(Invalid::new("SchedulerUnreachable", error.to_string())),
            None => {
                let list = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                let message = format!("the scheduler keeps workers whose data nobody else can take: {list}");
                Some(Invalid::new("RetirementRefused", message))
            }
        };
        Self { refused: error.is_none(), names, why }
    }
}

async fn retire_processes(
    context: &Context,
    cluster: &DaskCluster,
    held: &[&Candidate],
) -> Result<BTreeSet<String>, scheduler::Error> {
    let addresses: Vec<String> = held
        .iter()
        .filter_map(|victim| match &victim.standing {
            Standing::Registered { addresses, .. } => Some(addresses.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    scheduler::client_of(context, cluster).await?.retire(&addresses).await
}
