//! Reports objects that cannot be read to their authors: as an Event on the object, and as the condition `Accepted` if
//! its kind has conditions.
//!
//! The watches keep objects that cannot be read by name ([`crate::watch::UnreadableObject`]). The leader reports each
//! object once, and again when the reason changes. Namespaces take turns, so that one with thousands of such objects
//! does not delay the reports of another.
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
    conditions::{self, ConditionUpdate},
    events::Recorder,
    k8s::{self, FIELD_MANAGER},
    leader::Leading,
    liveness::Liveness,
    watch::{Received, UnreadableObject},
};

/// How often the watches are checked for changes.
const PERIOD: Duration = Duration::from_secs(1);
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
    /// Returns whether objects of a kind of an API group have the condition `Accepted`.
    pub has_condition: HasCondition,
    /// Removes finalizers from an object that is being deleted.
    pub release: Release,
}

/// Removes the operator's finalizers from an object that cannot be read and is being deleted.
pub type Release = Box<dyn Fn(Arc<UnreadableObject>) -> BoxFuture<'static, Result<(), k8s::Error>> + Send + Sync>;

/// Returns whether objects of a kind (second argument) of an API group (first) have the condition `Accepted`.
pub type HasCondition = fn(&str, &str) -> bool;

/// The reported reason and message of each object, by uid.
type Reported = HashMap<String, (&'static str, String)>;

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
            for object in unreported(&objects, &mut reported) {
                self.report(&object).await;
            }
            if !self.release(&objects).await {
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
        if let Some(patch) = condition_patch(object, self.has_condition, Timestamp::now())
            && let Err(error) = self.patch_status(object, &patch).await
        {
            tracing::debug!(%error, "failed to write the condition of an object that cannot be read");
        }
    }

    /// Releases all `objects` that are being deleted. Returns whether nothing is left to be done.
    async fn release(&self, objects: &[Arc<UnreadableObject>]) -> bool {
        let mut is_done = true;
        for object in in_turns(objects.iter().filter(|object| object.deletion.is_some())) {
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

/// Returns the objects that have not been reported yet, one of each namespace in turn, and records them as reported.
/// Objects that are gone or can be read are forgotten.
fn unreported(objects: &[Arc<UnreadableObject>], reported: &mut Reported) -> Vec<Arc<UnreadableObject>> {
    let uid = |object: &UnreadableObject| object.reference.uid.clone().unwrap_or_default();
    let present: HashMap<String, (&'static str, String)> =
        objects.iter().map(|object| (uid(object), (object.reason, object.message.clone()))).collect();
    let is_news = |object: &&Arc<UnreadableObject>| reported.get(&uid(object)) != present.get(&uid(object));
    let news = in_turns(objects.iter().filter(is_news));
    *reported = present;
    news
}

/// Returns the objects in an order in which namespaces take turns.
fn in_turns<'a>(objects: impl Iterator<Item = &'a Arc<UnreadableObject>>) -> Vec<Arc<UnreadableObject>> {
    let mut places: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let mut queued = Vec::new();
    for object in objects {
        let place = places.entry(object.reference.namespace.clone()).or_default();
        queued.push((*place, Arc::clone(object)));
        *place += 1;
    }
    queued.sort_by_key(|(place, _)| *place);
    queued.into_iter().map(|(_, object)| object).collect()
}

/// Returns the merge patch that reports in the object's status that it is not accepted. Returns `None` if the kind has
/// no conditions, if the object is too large, or if the status says so already. The patch fails if the object has
/// changed since.
fn condition_patch(object: &UnreadableObject, has_condition: HasCondition, now: Timestamp) -> Option<Value> {
    let ObjectReference { api_version, kind, resource_version, .. } = &object.reference;
    let group = api_version.as_deref()?.split('/').next()?;
    if !has_condition(group, kind.as_deref()?) || object.bytes > LARGEST_STATUS {
        return None;
    }
    let verdict = ConditionUpdate::no("Accepted", object.reason, object.message.clone());
    let accepted: Vec<Condition> = conditions::updated(&object.conditions, vec![verdict], None, now);
    let is_same = |known: &Condition| {
        accepted.iter().any(|new| {
            (&new.type_, &new.status, &new.reason, &new.message)
                == (&known.type_, &known.status, &known.reason, &known.message)
        })
    };
    if object.conditions.iter().any(is_same) {
        return None;
    }
    let others = object.conditions.iter().filter(|condition| condition.type_ != "Accepted").cloned();
    let conditions: Vec<Condition> = accepted.into_iter().chain(others).collect();
    Some(json!({"metadata": {"resourceVersion": resource_version}, "status": {"conditions": conditions}}))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::runtime::events::Reporter as EventReporter;

    use super::*;
    use crate::{
        events::Wanted,
        testing::{made, stub_api_server},
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
            bytes: 1000,
            deletion: None,
        }
    }

    fn has_condition(group: &str, kind: &str) -> bool {
        group == "example.org" && kind != "Job"
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
        assert_eq!(names(&unreported(&objects, &mut reported)), ["a-1", "b-1", "a-2", "a-3"]);
        assert_eq!(names(&unreported(&objects, &mut reported)), [""; 0]);
        let changed = UnreadableObject { reason: "TooLarge", ..object("Cluster", "b", "1") };
        assert_eq!(names(&unreported(&[Arc::new(changed)], &mut reported)), ["b-1"]);
        assert_eq!(reported.len(), 1, "what is gone is forgotten");
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
            has_condition,
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

    #[test]
    fn the_condition_is_written_once_and_others_stay() {
        let mut bad = object("Group", "a", "1");
        bad.conditions =
            conditions::updated(&[], vec![ConditionUpdate::yes("Available", "A", "")], None, Timestamp::UNIX_EPOCH);
        let patch = condition_patch(&bad, has_condition, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7"}));
        let written: Vec<Condition> = serde_json::from_value(patch["status"]["conditions"].clone()).unwrap();
        let seen: Vec<(&str, &str, &str)> = written
            .iter()
            .map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str()))
            .collect();
        assert_eq!(seen, [("Accepted", "False", "TooDeep"), ("Available", "True", "A")]);
        bad.conditions = written;
        assert_eq!(condition_patch(&bad, has_condition, Timestamp::UNIX_EPOCH), None, "a steady state writes nothing");
    }

    #[test]
    fn kinds_without_conditions_large_objects_and_kinds_of_others_keep_their_status() {
        assert_eq!(condition_patch(&object("Job", "a", "1"), has_condition, Timestamp::UNIX_EPOCH), None);
        let large = UnreadableObject { bytes: 1 << 20, ..object("Cluster", "a", "1") };
        assert_eq!(condition_patch(&large, has_condition, Timestamp::UNIX_EPOCH), None);
        let mut pod = object("Pod", "a", "1");
        pod.reference.api_version = Some("v1".to_owned());
        assert_eq!(condition_patch(&pod, has_condition, Timestamp::UNIX_EPOCH), None);
    }
}
