//! Reports to users how their objects are: by statuses, and by Events about changes of conditions.

use std::fmt::Debug;

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::NamespaceResourceScope,
    runtime::events::{Event, EventType},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    conditions,
    events::Recorder,
    k8s::{self, Class, OldDefinitions},
};

/// Reasons of conditions that are true although users have to know something.
const CAUTIONS: [&str; 2] = ["FieldsIgnored", "ApiServerWarnings"];

/// Writes statuses and publishes Events: the only way in which reconcilers report to users. Clones share the record of
/// published Events.
#[derive(Clone)]
pub struct StatusReporter {
    client: Client,
    recorder: Recorder,
    definitions: OldDefinitions,
    /// Reasons of conditions that are false only until an operation in progress is done. There are no Events about them.
    progress: &'static [&'static str],
}

impl StatusReporter {
    /// Returns a reporter that publishes Events with `recorder`, and knows which of the installed CRDs are old.
    /// `progress` are the reasons of conditions that are false only until an operation in progress is done.
    pub fn new(
        client: Client,
        recorder: Recorder,
        definitions: OldDefinitions,
        progress: &'static [&'static str],
    ) -> Self {
        Self { client, recorder, definitions, progress }
    }

    /// Applies `status` to the status subresource of `object` as `manager`. Returns whether anything was written: an old
    /// CRD drops most of a status, so that the same one is not sent again and again. An object that was deleted has no
    /// status.
    ///
    /// # Errors
    /// Fails if the API server does not accept the status.
    pub async fn apply<K>(&self, manager: &str, object: &K, status: &impl Serialize) -> Result<bool, k8s::Error>
    where
        K: Clone + Serialize + DeserializeOwned + Debug + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        k8s::apply_status(&api, manager, object, status, &self.definitions).await
    }

    /// Publishes an Event for each condition that became false, or true again, or true with a caution. A condition that
    /// is simply true from the start has no Event, and neither has `Stalled`, which repeats another one.
    pub async fn condition_changes<K>(&self, object: &K, old: &[Condition], new: &[Condition])
    where
        K: Resource<DynamicType = ()>,
    {
        for event in events_of(old, new, self.progress) {
            self.publish(object, event).await;
        }
    }

    /// Publishes one Event about `object`.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, event: Event) {
        self.publish_about(&object.object_ref(&()), event).await;
    }

    /// Publishes one Event about the object that `reference` names. A failure is only logged, because Events are best
    /// effort.
    pub async fn publish_about(&self, reference: &ObjectReference, mut event: Event) {
        event.note = event.note.map(conditions::cut);
        match k8s::timed("create", "an Event", self.recorder.publish(&event, reference)).await {
            Err(error) if error.class() != Class::NamespaceEnding => {
                tracing::warn!(%error, "failed to publish an Event");
            }
            _ => {}
        }
    }
}

fn events_of(old: &[Condition], new: &[Condition], progress: &[&str]) -> Vec<Event> {
    let is_progress = |condition: &Condition| progress.contains(&condition.reason.as_str());
    let is_reported = |condition: &&Condition| {
        let before = old.iter().find(|other| other.type_ == condition.type_);
        let same = before.is_some_and(|before| before.status == condition.status && before.reason == condition.reason);
        let failed = |before: &Condition| before.status == "False" && !is_progress(before);
        let recovered = condition.status == "True" && before.is_some_and(|before| failed(before) || is_caution(before));
        let is_summary = condition.type_ == conditions::STALLED;
        !is_summary
            && !same
            && !is_progress(condition)
            && (condition.status == "False" || recovered || is_caution(condition))
    };
    let is_warning = |condition: &Condition| condition.status == "False" || is_caution(condition);
    let event = |condition: &Condition| Event {
        type_: if is_warning(condition) { EventType::Warning } else { EventType::Normal },
        reason: condition.reason.clone(),
        note: Some(condition.message.clone()),
        action: condition.type_.clone(),
        secondary: None,
    };
    new.iter().filter(is_reported).map(event).collect()
}

fn is_caution(condition: &Condition) -> bool {
    condition.status == "True" && CAUTIONS.contains(&condition.reason.as_str())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::conditions::{ConditionUpdate, updated};

    const PROGRESS: &[&str] = &["Creating"];

    fn conditions(verdict: ConditionUpdate) -> Vec<Condition> {
        updated(&[], vec![verdict], None, Timestamp::UNIX_EPOCH)
    }

    fn reasons(old: &[Condition], new: ConditionUpdate) -> Vec<String> {
        events_of(old, &conditions(new), PROGRESS).into_iter().map(|event| event.reason).collect()
    }

    #[test]
    fn normal_progress_makes_no_events() {
        assert!(reasons(&[], ConditionUpdate::yes("Accepted", "Valid", "")).is_empty());
        assert!(reasons(&[], ConditionUpdate::no("Created", "Creating", "")).is_empty());
        let creating = conditions(ConditionUpdate::no("Created", "Creating", ""));
        assert!(reasons(&creating, ConditionUpdate::yes("Created", "Created", "")).is_empty());
    }

    /// Each new resource begins with conditions about what does not exist yet.
    #[test]
    fn what_was_unknown_before_makes_no_event_when_it_holds() {
        let unknown = conditions(ConditionUpdate::unknown("SchedulerReady", "NotObserved", ""));
        assert!(reasons(&unknown, ConditionUpdate::yes("SchedulerReady", "Ready", "")).is_empty());
        assert_eq!(reasons(&unknown, ConditionUpdate::no("SchedulerReady", "Unschedulable", "")), ["Unschedulable"]);
    }

    #[test]
    fn a_stalled_resource_has_the_event_of_its_cause_and_no_other() {
        assert!(reasons(&[], ConditionUpdate::yes("Stalled", "NameTaken", "")).is_empty());
        let stalled = conditions(ConditionUpdate::yes("Stalled", "NameTaken", ""));
        assert!(reasons(&stalled, ConditionUpdate::no("Stalled", "NotStalled", "")).is_empty());
    }

    #[test]
    fn a_condition_that_is_true_with_a_caution_is_a_warning_once() {
        let ignored = |message: &str| ConditionUpdate::yes("Accepted", "FieldsIgnored", message);
        let valid = conditions(ConditionUpdate::yes("Accepted", "Valid", ""));
        for old in [&[] as &[Condition], &valid] {
            let events = events_of(old, &conditions(ignored("a")), PROGRESS);
            assert_eq!(events.len(), 1);
            assert!(matches!(events[0].type_, EventType::Warning));
        }
        assert!(reasons(&conditions(ignored("a")), ignored("b")).is_empty());
        assert_eq!(reasons(&conditions(ignored("a")), ConditionUpdate::yes("Accepted", "Valid", "")), ["Valid"]);
    }

    #[test]
    fn a_failure_and_its_end_have_one_event_each() {
        assert_eq!(reasons(&[], ConditionUpdate::no("Created", "Forbidden", "a")), ["Forbidden"]);
        let failed = conditions(ConditionUpdate::no("Created", "Forbidden", "a"));
        assert!(reasons(&failed, ConditionUpdate::no("Created", "Forbidden", "b")).is_empty());
        assert_eq!(reasons(&failed, ConditionUpdate::yes("Created", "Created", "")), ["Created"]);
    }
}
