//! Remembers what the API server warned about when it created a group's workers.
//!
//! All workers of a template get the same warnings. They are recorded once, in an annotation of the group, and not on
//! each of perhaps a thousand Deployments.

use dask_operator_api::{DaskWorkerGroup, meta};
use kube::{Api, Client, ResourceExt as _};
use operator_runtime::{
    conditions::ACCEPTED,
    k8s::{self, Warnings},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{field_warnings, template_version::TemplateVersion};

/// The warnings about the workers of one template.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    template: String,
    warnings: Warnings,
}

fn recorded(group: &DaskWorkerGroup) -> Option<Record> {
    let record: Record = serde_json::from_str(group.annotations().get(meta::WORKER_WARNINGS)?).ok()?;
    // Everybody may write annotations, and what they hold is limited here.
    Some(Record { warnings: record.warnings.map(str::to_owned), ..record })
}

/// Returns the warnings about workers of `template`.
pub(super) fn of(group: &DaskWorkerGroup, template: &TemplateVersion) -> Warnings {
    recorded(group)
        .filter(|record| record.template == template.meaning())
        .map(|record| record.warnings)
        .unwrap_or_default()
}

/// Returns the warnings that the group's own status shows, for the status of its cluster.
pub(crate) fn shown(group: &DaskWorkerGroup) -> Warnings {
    let conditions = group.status.iter().flat_map(|status| &status.conditions);
    let mut accepted = conditions.filter(|condition| condition.type_ == ACCEPTED);
    let is_shown = accepted.any(|condition| field_warnings::is_reason(&condition.reason));
    recorded(group).filter(|_| is_shown).map(|record| record.warnings).unwrap_or_default()
}

/// Records the warnings of a pass that created workers of `template`. Writes nothing if they are recorded already.
pub(super) async fn record(
    client: &Client,
    group: &DaskWorkerGroup,
    template: &TemplateVersion,
    warnings: Option<Warnings>,
) -> Result<(), k8s::Error> {
    let warnings = warnings.map(|warnings| field_warnings::WORKER.of(&warnings));
    let Some(note) = warnings.and_then(|warnings| note(group, template.meaning(), warnings)) else {
        return Ok(());
    };
    let api: Api<DaskWorkerGroup> = Api::namespaced(client.clone(), &group.namespace().unwrap_or_default());
    k8s::merge(&api, group, json!({"metadata": {"annotations": {meta::WORKER_WARNINGS: note}}})).await.map(|_| ())
}

/// Returns the annotation that records `warnings`, or `None` if it needs no change. `null` removes it.
fn note(group: &DaskWorkerGroup, template: &str, warnings: Warnings) -> Option<Value> {
    if warnings.is_empty() {
        return group.annotations().contains_key(meta::WORKER_WARNINGS).then_some(Value::Null);
    }
    let record = Record { template: template.to_owned(), warnings };
    (recorded(group).as_ref() != Some(&record)).then(|| json!(json!(record).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::mk_group;

    const TEXT: &str = r#"unknown field "spec.worker.spec.x""#;

    fn warnings() -> Warnings {
        Warnings::from_json(&json!([TEXT]).to_string())
    }

    fn noted(note: Option<Value>) -> DaskWorkerGroup {
        let mut group = mk_group("demo-default", "demo");
        let note = note.and_then(|note| note.as_str().map(str::to_owned));
        group.metadata.annotations = note.map(|note| [(meta::WORKER_WARNINGS.to_owned(), note)].into());
        group
    }

    #[test]
    fn warnings_are_recorded_until_a_worker_is_created_without_any() {
        let fresh = noted(None);
        assert_eq!(note(&fresh, "a", Warnings::default()), None);
        let recorded_group = noted(note(&fresh, "a", warnings()));
        assert_eq!(note(&recorded_group, "a", warnings()), None);
        assert!(note(&recorded_group, "b", warnings()).is_some());
        assert_eq!(note(&recorded_group, "b", Warnings::default()), Some(Value::Null));
    }

    #[test]
    fn warnings_are_of_the_template_that_they_were_about() {
        let (a, b) = (TemplateVersion::new(&"a", || "a"), TemplateVersion::new(&"b", || "b"));
        let mut group = noted(note(&noted(None), a.meaning(), warnings()));
        assert_eq!((of(&group, &a), of(&group, &b)), (warnings(), Warnings::default()));
        assert_eq!(shown(&group), Warnings::default(), "the group does not say so yet, or no longer");
        group.status = Some(
            serde_json::from_value(json!({"conditions": [{"type": ACCEPTED, "status": "True", "message": "",
                "reason": field_warnings::FIELDS_IGNORED, "lastTransitionTime": "2026-11-30T09:00:00Z"}]}))
            .unwrap(),
        );
        assert_eq!(shown(&group), warnings());
    }
}
