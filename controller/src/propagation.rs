//! Propagates labels and annotations of owners to their children, without touching keys that others set.
//!
//! An annotation of the child lists the propagated keys. When the owner loses a key, it is removed from the child too,
//! and no other key is. A server-side apply could do the same, but only together with the spec: an apply deletes the
//! fields that its manager owns and that it leaves out.

use std::collections::BTreeSet;

use dask_operator_api::meta::{Map, PROPAGATED};
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Map as JsonMap, Value, json};

/// The labels and annotations that a child should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Propagation {
    labels: Map,
    annotations: Map,
}

/// The keys that were propagated to a child.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    annotations: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    labels: BTreeSet<String>,
}

impl Propagation {
    /// Creates a propagation of these labels and annotations, and of the annotation that lists their keys.
    pub(crate) fn new(labels: Map, mut annotations: Map) -> Self {
        let record =
            Record { annotations: annotations.keys().cloned().collect(), labels: labels.keys().cloned().collect() };
        // Serializing two lists of strings cannot fail.
        annotations.insert(PROPAGATED.to_owned(), serde_json::to_string(&record).unwrap_or_default());
        Self { labels, annotations }
    }

    /// Returns the labels of a new child.
    pub(crate) fn labels(&self) -> &Map {
        &self.labels
    }

    /// Returns the annotations of a new child.
    pub(crate) fn annotations(&self) -> &Map {
        &self.annotations
    }

    /// Returns the `metadata` of a merge patch that brings `live` up to date, or `None` if it is up to date.
    pub(crate) fn patch(&self, live: &ObjectMeta) -> Option<JsonMap<String, Value>> {
        let recorded: Record = live
            .annotations
            .as_ref()
            .and_then(|annotations| serde_json::from_str(annotations.get(PROPAGATED)?).ok())
            .unwrap_or_default();
        let mut patch = JsonMap::new();
        let empty = Map::new();
        for (field, desired, live, recorded) in [
            ("labels", &self.labels, live.labels.as_ref(), &recorded.labels),
            ("annotations", &self.annotations, live.annotations.as_ref(), &recorded.annotations),
        ] {
            let changes = changes(desired, live.unwrap_or(&empty), recorded);
            if !changes.is_empty() {
                patch.insert(field.to_owned(), Value::Object(changes));
            }
        }
        (!patch.is_empty()).then_some(patch)
    }
}

fn changes(desired: &Map, live: &Map, recorded: &BTreeSet<String>) -> JsonMap<String, Value> {
    let set = desired.iter().filter(|(key, value)| live.get(*key) != Some(*value));
    let lost = recorded.iter().filter(|key| !desired.contains_key(*key) && live.contains_key(*key));
    set.map(|(key, value)| (key.clone(), json!(value))).chain(lost.map(|key| (key.clone(), Value::Null))).collect()
}

#[cfg(test)]
mod tests {
    use dask_operator_api::meta::map_of;

    use super::*;

    fn live(propagation: &Propagation) -> ObjectMeta {
        let labels = propagation.labels().clone();
        ObjectMeta {
            labels: Some(labels),
            annotations: Some(propagation.annotations().clone()),
            ..ObjectMeta::default()
        }
    }

    fn with(labels: Map) -> Propagation {
        Propagation::new(labels, map_of([("note", "1")]))
    }

    #[test]
    fn a_child_that_has_everything_is_left_alone_whatever_others_add() {
        let desired = with(map_of([("team", "a")]));
        let mut live = live(&desired);
        live.labels.as_mut().unwrap().insert("other".to_owned(), "x".to_owned());
        live.annotations.as_mut().unwrap().insert("deployment.kubernetes.io/revision".to_owned(), "1".to_owned());
        assert_eq!(desired.patch(&live), None);
    }

    #[test]
    fn only_keys_that_the_owner_had_are_removed() {
        let mut live = live(&with(map_of([("team", "a"), ("lost", "x")])));
        live.labels.as_mut().unwrap().insert("other".to_owned(), "x".to_owned());
        let patch = with(map_of([("team", "b")])).patch(&live).unwrap();
        assert_eq!(patch["labels"], json!({"team": "b", "lost": null}));
        assert_eq!(patch["annotations"], json!({PROPAGATED: r#"{"annotations":["note"],"labels":["team"]}"#}));
    }

    /// Objects of dask-kubernetes have no record, so none of their keys are removed.
    #[test]
    fn without_a_record_keys_are_only_added() {
        let live = ObjectMeta { labels: Some(map_of([("team", "a"), ("theirs", "x")])), ..ObjectMeta::default() };
        let patch = with(map_of([("team", "a")])).patch(&live).unwrap();
        assert_eq!(patch.keys().collect::<Vec<_>>(), ["annotations"]);
    }
}
