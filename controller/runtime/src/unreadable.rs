//! Reports objects that cannot be read to their authors: as an Event on the object, and in its conditions if its kind has
//! any.
//!
//! The watches keep objects that cannot be read by name ([`crate::watch::UnreadableObject`]). The leader reports each
//! object once, and again when the reason or the spec changes. Namespaces take turns, and a few objects are reported at a
//! time, so that a namespace with thousands of such objects does not delay the reports of another.
//!
//! This module also releases such objects when they are being deleted: the reconciler that would remove a finalizer
//! never receives the object.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Client,
    api::{DynamicObject, PartialObjectMeta, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
    runtime::events::{Event, EventType},
};
use serde_json::{Value, json};

use crate::{
    conditions,
    events::Recorder,
    k8s::{self, FIELD_MANAGER},
    leader::Leading,
    liveness::Liveness,
    received::Received,
    rejection::Rejection,
    watch::UnreadableObject,
};

/// How often the watches are checked for changes.
const PERIOD: Duration = Duration::from_secs(1);
/// The number of objects that are reported in one such period. The others follow in the next one, in which namespaces take
/// turns again.
const AT_ONCE: usize = 64;
/// The largest object whose status is written, in bytes. For each write the API server processes the whole object,
/// which takes seconds for a million small values. The cost of an Event does not depend on the object.
const LARGEST_STATUS: usize = 128 << 10;

/// Reports unreadable objects to their authors.
pub struct Reporter {
    /// The client of the API server.
    pub client: Client,
    /// The recorder that publishes Events.
    pub recorder: Recorder,
    /// The source of the objects that cannot be read.
    pub liveness: Liveness,
    /// Returns the conditions of a kind.
    pub conditions_of: ConditionsOf,
    /// Removes finalizers from an object that is being deleted.
    pub release: Release,
}

/// Removes the operator's finalizers from an object that cannot be read and is being deleted.
pub type Release = Box<dyn Fn(Arc<UnreadableObject>) -> BoxFuture<'static, Result<(), k8s::Error>> + Send + Sync>;

/// Returns the types of the conditions that the reconciler of a kind (second argument) of an API group (first) writes, in
/// their order. They are empty for a kind without conditions.
pub type ConditionsOf = fn(&str, &str) -> &'static [&'static str];

/// What was reported about each object, by uid.
type Reported = HashMap<String, Report>;

/// What is reported about an object: reason, message and the generation that they are about.
type Report = (&'static str, String, Option<i64>);

impl Reporter {
    /// Reports each object that cannot be read, for as long as the process lives.
    pub async fn run(self, _: Leading) {
        let (mut reported, mut changes) = (Reported::new(), None);
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.liveness.unreadable_changes();
            if changes.replace(now) == Some(now) {
                continue;
            }
            let objects = self.liveness.unreadable();
            let batch = unreported(&objects, &mut reported, AT_ONCE);
            let is_full = batch.len() == AT_ONCE;
            for object in batch {
                self.report(&object).await;
            }
            if !self.release(&objects).await || is_full {
                changes = None;
            }
        }
    }

    /// Reports one object. An error is only logged, because the log and the metric name the object too.
    async fn report(&self, object: &UnreadableObject) {
        let event = Event {
            type_: EventType::Warning,
            reason: object.reason.to_owned(),
            note: Some(conditions::cut(object.message.clone())),
            action: "Read".to_owned(),
            secondary: None,
        };
        if let Err(error) = k8s::timed("create", "an Event", self.recorder.publish(&event, &object.reference)).await {
            tracing::debug!(%error, "failed to publish an Event about an object that cannot be read");
        }
        if let Some(patch) = status_patch(object, self.conditions_of, Timestamp::now())
            && let Err(error) = self.patch_status(object, &patch).await
        {
            tracing::debug!(%error, "failed to write the conditions of an object that cannot be read");
        }
    }

    /// Releases all `objects` that are being deleted. Returns whether nothing is left to be done.
    async fn release(&self, objects: &[Arc<UnreadableObject>]) -> bool {
        let mut is_done = true;
        for object in interleaved_by_namespace(objects.iter().filter(|object| object.deletion.is_some())) {
            if let Err(error) = (self.release)(object).await {
                tracing::warn!(%error, "failed to remove finalizers from an object that cannot be read");
                is_done = false;
            }
        }
        is_done
    }

    async fn patch_status(&self, object: &UnreadableObject, patch: &Value) -> Result<(), k8s::Error> {
        let reference = &object.reference;
        let (Some(namespace), Some(name)) = (&reference.namespace, &reference.name) else { return Ok(()) };
        let resource = resource_of(object);
        // The object in the response cannot be read either.
        let api: Api<Received<PartialObjectMeta<DynamicObject>>> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        k8s::timed("patch", "a status", api.patch_status(name, &params, &Patch::Merge(patch))).await?;
        Ok(())
    }
}

fn resource_of(object: &UnreadableObject) -> ApiResource {
    let ObjectReference { api_version, kind, .. } = &object.reference;
    let api_version = api_version.as_deref().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, kind.as_deref().unwrap_or_default());
    ApiResource::from_gvk_with_plural(&kind, &object.plural)
}

/// Returns at most `count` objects that have not been reported yet, one of each namespace in turn, and records them as
/// reported. Objects that are gone or can be read are forgotten.
fn unreported(objects: &[Arc<UnreadableObject>], reported: &mut Reported, count: usize) -> Vec<Arc<UnreadableObject>> {
    let uid = |object: &UnreadableObject| object.reference.uid.clone().unwrap_or_default();
    let mut present: Reported = objects
        .iter()
        .map(|object| (uid(object), (object.reason, object.message.clone(), object.generation)))
        .collect();
    let is_new = |object: &&Arc<UnreadableObject>| reported.get(&uid(object)) != present.get(&uid(object));
    let mut unreported = interleaved_by_namespace(objects.iter().filter(is_new));
    for object in unreported.split_off(count.min(unreported.len())) {
        present.remove(&uid(&object));
    }
    *reported = present;
    unreported
}

/// Returns the objects in an order in which namespaces take turns.
fn interleaved_by_namespace<'a>(
    objects: impl Iterator<Item = &'a Arc<UnreadableObject>>,
) -> Vec<Arc<UnreadableObject>> {
    let mut positions: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let mut queued = Vec::new();
    for object in objects {
        let position = positions.entry(object.reference.namespace.clone()).or_default();
        queued.push((*position, Arc::clone(object)));
        *position += 1;
    }
    queued.sort_by_key(|(position, _)| *position);
    queued.into_iter().map(|(_, object)| object).collect()
}

/// Returns the merge patch that reports in the object's status that it is not accepted. Of the other conditions nothing is
/// known any more. Returns `None` if the kind has no conditions, if only a copy cannot be held, if the object is too large, or if the status says so
/// already. The patch fails if the object has changed since.
fn status_patch(object: &UnreadableObject, conditions_of: ConditionsOf, now: Timestamp) -> Option<Value> {
    let ObjectReference { api_version, kind, resource_version, .. } = &object.reference;
    let group = api_version.as_deref()?.split('/').next()?;
    let types = conditions_of(group, kind.as_deref()?);
    if types.is_empty() || !object.is_reconciled || object.bytes > LARGEST_STATUS {
        return None;
    }
    let rejection = Rejection::new(object.reason, object.message.as_str());
    let verdicts = conditions::of_rejected(types, &rejection, true);
    let desired: Vec<Condition> = conditions::updated(&object.conditions, verdicts, object.generation, now);
    if desired.iter().all(|condition| object.conditions.contains(condition)) {
        return None;
    }
    let others = object.conditions.iter().filter(|condition| !types.contains(&condition.type_.as_str())).cloned();
    let conditions: Vec<Condition> = desired.into_iter().chain(others).collect();
    let mut status = json!({"conditions": conditions});
    if let Some(generation) = object.generation {
        status["observedGeneration"] = json!(generation);
    }
    Some(json!({"metadata": {"resourceVersion": resource_version}, "status": status}))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::runtime::events::Reporter as EventReporter;

    use super::*;
    use crate::{
        conditions::ConditionUpdate,
        events::Wanted,
        testing::{is_met, kstatus, made, stub_api_server},
        watch::Deletion,
    };

    fn object(kind: &str, namespace: &str, name: &str) -> UnreadableObject {
        UnreadableObject {
            reference: ObjectReference {
                api_version: Some("example.org/v1".to_owned()),
                kind: Some(kind.to_owned()),
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                uid: Some(format!("{namespace}-{name}")),
                resource_version: Some("7".to_owned()),
                field_path: None,
            },
            plural: format!("{}s", kind.to_lowercase()),
            reason: "TooDeep",
            message: "it is nested deeper than 100".to_owned(),
            conditions: Vec::new(),
            generation: Some(2),
            bytes: 1000,
            is_reconciled: true,
            deletion: None,
        }
    }

    fn conditions_of(group: &str, kind: &str) -> &'static [&'static str] {
        if group == "example.org" && kind != "Job" { &["Accepted", "Available", "Ready", "Stalled"] } else { &[] }
    }

    fn names(objects: &[Arc<UnreadableObject>]) -> Vec<&str> {
        objects.iter().filter_map(|object| object.reference.uid.as_deref()).collect()
    }

    #[test]
    fn each_object_is_reported_once_and_namespaces_take_turns() {
        let objects: Vec<Arc<UnreadableObject>> = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1")]
            .map(|(namespace, name)| Arc::new(object("Cluster", namespace, name)))
            .to_vec();
        let mut reported = Reported::new();
        assert_eq!(names(&unreported(&objects, &mut reported, 10)), ["a-1", "b-1", "a-2", "a-3"]);
        assert_eq!(names(&unreported(&objects, &mut reported, 10)), [""; 0]);
        let changed = UnreadableObject { reason: "TooLarge", ..object("Cluster", "b", "1") };
        assert_eq!(names(&unreported(&[Arc::new(changed)], &mut reported, 10)), ["b-1"]);
        assert_eq!(reported.len(), 1, "what is gone is forgotten");
        let edited = UnreadableObject { generation: Some(3), reason: "TooLarge", ..object("Cluster", "b", "1") };
        assert_eq!(
            names(&unreported(&[Arc::new(edited)], &mut reported, 10)),
            ["b-1"],
            "the status is about a generation"
        );
    }

    /// Otherwise the objects of a namespace with thousands of them would delay what is found later in another one.
    #[test]
    fn a_few_objects_are_reported_at_a_time() {
        let mut objects: Vec<_> = ["1", "2", "3", "4"].map(|name| Arc::new(object("Cluster", "a", name))).to_vec();
        let mut reported = Reported::new();
        assert_eq!(names(&unreported(&objects, &mut reported, 2)), ["a-1", "a-2"]);
        objects.push(Arc::new(object("Cluster", "b", "1")));
        assert_eq!(names(&unreported(&objects, &mut reported, 2)), ["a-3", "b-1"]);
        assert_eq!(names(&unreported(&objects, &mut reported, 2)), ["a-4"]);
        assert_eq!(names(&unreported(&objects, &mut reported, 2)), [""; 0]);
    }

    #[tokio::test]
    async fn objects_that_are_being_deleted_are_released_and_no_others() {
        let (client, _) = stub_api_server(made).await;
        let released = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&released);
        let release: Release = Box::new(move |object| {
            noted.lock().unwrap().push(object.reference.uid.clone().unwrap());
            Box::pin(std::future::ready(Ok(())))
        });
        let reporter_of = Reporter {
            recorder: Recorder::new(client.clone(), reporter(), Wanted::Everything),
            client,
            liveness: Liveness::default(),
            conditions_of,
            release,
        };
        let deletion = Some(Deletion { since: Time(Timestamp::UNIX_EPOCH), finalizers: vec!["a/b".to_owned()] });
        let objects =
            [UnreadableObject { deletion, ..object("Cluster", "a", "going") }, object("Cluster", "a", "living")];
        assert!(reporter_of.release(&objects.map(Arc::new)).await);
        assert_eq!(*released.lock().unwrap(), ["a-going"]);
    }

    fn reporter() -> EventReporter {
        EventReporter { controller: "test".to_owned(), instance: None }
    }

    /// Otherwise, those who wait for it would rely on what was observed of an older spec.
    #[test]
    fn an_object_that_cannot_be_read_is_not_ready_and_nothing_else_is_known_of_it() {
        let mut bad = object("Group", "a", "1");
        let earlier = ["Available", "Ready", "PluginsSynced"].map(|type_| ConditionUpdate::yes(type_, "A", ""));
        bad.conditions = conditions::updated(&[], earlier.to_vec(), Some(1), Timestamp::UNIX_EPOCH);
        let patch = status_patch(&bad, conditions_of, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7"}));
        assert_eq!(patch["status"]["observedGeneration"], 2);
        let written: Vec<Condition> = serde_json::from_value(patch["status"]["conditions"].clone()).unwrap();
        let seen: Vec<_> = written
            .iter()
            .map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.observed_generation))
            .collect();
        let expected = [
            ("Accepted", "False", Some(2)),
            ("Available", "Unknown", Some(2)),
            ("Ready", "False", Some(2)),
            ("Stalled", "True", Some(2)),
            ("PluginsSynced", "True", Some(1)),
        ];
        assert_eq!(seen, expected);
        let stored = json!({"metadata": {"generation": 2}, "status": patch["status"]});
        assert_eq!((kstatus(&stored), is_met(&stored, "Ready")), ("Failed", false));
        bad.conditions = written;
        assert_eq!(status_patch(&bad, conditions_of, Timestamp::UNIX_EPOCH), None, "a steady state writes nothing");
    }

    #[test]
    fn kinds_without_conditions_large_objects_and_kinds_of_others_keep_their_status() {
        assert_eq!(status_patch(&object("Job", "a", "1"), conditions_of, Timestamp::UNIX_EPOCH), None);
        let large = UnreadableObject { bytes: 1 << 20, ..object("Cluster", "a", "1") };
        assert_eq!(status_patch(&large, conditions_of, Timestamp::UNIX_EPOCH), None);
        let copy = UnreadableObject { is_reconciled: false, ..object("Cluster", "a", "1") };
        assert_eq!(status_patch(&copy, conditions_of, Timestamp::UNIX_EPOCH), None);
        let mut pod = object("Pod", "a", "1");
        pod.reference.api_version = Some("v1".to_owned());
        assert_eq!(status_patch(&pod, conditions_of, Timestamp::UNIX_EPOCH), None);
    }
}
