//! Tells users what the API server warned about when it created what they specified: fields that it does not know, or
//! that are deprecated.
//!
//! The API server says this once, in the response to the creation. An annotation of the created object records it, in
//! the terms of the resource that the user wrote. So every later pass, also of another process, computes the same
//! condition, and the record goes with the object.

use kube::api::ObjectMeta;
use operator_runtime::{conditions::ConditionUpdate, k8s::Warnings};

use dask_operator_api::meta;

/// The reason of a condition if parts of the spec are ignored.
pub(crate) const FIELDS_IGNORED: &str = "FieldsIgnored";
/// The reason of a condition if the API server warned about the spec, but uses all of it.
const API_SERVER_WARNINGS: &str = "ApiServerWarnings";
/// How much of the warnings a condition or Event quotes, in bytes.
const MAX_QUOTED: usize = 800;

/// Where a part of an object comes from: its path in the object, and in the resource that the user wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The path in the object that was created.
    pub(crate) created: &'static str,
    /// The path in the resource.
    pub(crate) written: &'static str,
}

/// The origin of the scheduler's Deployment.
pub(crate) const SCHEDULER: Origin = Origin { created: "spec.template.spec.", written: "spec.scheduler.spec." };
/// The origin of the scheduler's Service.
pub(crate) const SERVICE: Origin = Origin { created: "spec.", written: "spec.scheduler.service." };
/// The origin of the default group, whose spec has the part for workers as it is.
pub(crate) const GROUP: Origin = Origin { created: "", written: "" };
/// The origin of a worker's Deployment.
pub(crate) const WORKER: Origin = Origin { created: "spec.template.spec.", written: "spec.worker.spec." };
/// The origin of a job's runner.
pub(crate) const RUNNER: Origin = Origin { created: "spec.", written: "spec.job.spec." };
/// The origin of a job's cluster.
pub(crate) const JOB_CLUSTER: Origin = Origin { created: "spec.", written: "spec.cluster.spec." };

/// The origin of a worker group that a job adds to its cluster.
pub(crate) const JOB_WORKER_GROUP: Origin = Origin { created: "spec.", written: "spec.cluster.workerGroups[]." };
/// The origin of a job's autoscaler.
pub(crate) const JOB_AUTOSCALER: Origin = Origin { created: "spec.", written: "spec.cluster.autoscaler." };

impl Origin {
    /// Returns the warnings about the created object in terms of the resource.
    pub(crate) fn of(self, warnings: &Warnings) -> Warnings {
        warnings.map(|text| text.replacen(self.created, self.written, 1))
    }
}

/// Returns the warnings that were recorded when the object with this metadata was written.
pub(crate) fn recorded(metadata: &ObjectMeta) -> Warnings {
    let annotation = metadata.annotations.as_ref().and_then(|annotations| annotations.get(meta::WARNINGS));
    annotation.map(|text| Warnings::from_json(text)).unwrap_or_default()
}

/// Returns the reason for `warnings`, which are some.
pub(crate) fn reason(warnings: &Warnings) -> &'static str {
    if warnings.name_dropped_fields() { FIELDS_IGNORED } else { API_SERVER_WARNINGS }
}

/// Returns whether a condition of this reason tells warnings.
pub(crate) fn is_reason(reason: &str) -> bool {
    [FIELDS_IGNORED, API_SERVER_WARNINGS].contains(&reason)
}

/// Returns one sentence that quotes `warnings`, as many as fit.
pub(crate) fn message(warnings: &Warnings) -> String {
    let intro = if warnings.name_dropped_fields() { "the API server ignores" } else { "the API server warns" };
    let (mut quoted, mut count) = (String::new(), 0);
    for text in warnings.iter() {
        if count > 0 && quoted.len() + text.len() > MAX_QUOTED {
            break;
        }
        quoted.push_str(if count == 0 { "" } else { "; " });
        quoted.push_str(text);
        count += 1;
    }
    let more = match warnings.iter().len() - count {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{intro}: {quoted}{more}")
}

/// Returns the condition `type_` of a valid resource.
pub(crate) fn accepted(type_: &'static str, warnings: &Warnings) -> ConditionUpdate {
    if warnings.is_empty() {
        return ConditionUpdate::yes(type_, "Valid", "the spec is valid");
    }
    ConditionUpdate::yes(type_, reason(warnings), message(warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(texts: &[&str]) -> Warnings {
        Warnings::from_json(&serde_json::to_string(texts).unwrap())
    }

    #[test]
    fn a_warning_names_the_field_where_the_user_wrote_it() {
        let table = [
            (SCHEDULER, r#"unknown field "spec.template.spec.x""#, r#"unknown field "spec.scheduler.spec.x""#),
            (WORKER, "spec.template.spec.nodeSelector[a]: deprecated", "spec.worker.spec.nodeSelector[a]: deprecated"),
            (SERVICE, r#"unknown field "spec.spec.x""#, r#"unknown field "spec.scheduler.service.spec.x""#),
            (RUNNER, r#"duplicate field "spec.x""#, r#"duplicate field "spec.job.spec.x""#),
            (JOB_CLUSTER, r#"unknown field "spec.worker.x""#, r#"unknown field "spec.cluster.spec.worker.x""#),
            (WORKER, "would violate PodSecurity", "would violate PodSecurity"),
        ];
        for (origin, given, expected) in table {
            assert_eq!(origin.of(&warnings(&[given])), warnings(&[expected]));
        }
    }

    #[test]
    fn the_message_names_what_fits_and_counts_the_rest() {
        let few = warnings(&[r#"unknown field "a""#, r#"unknown field "b""#]);
        assert_eq!(message(&few), r#"the API server ignores: unknown field "a"; unknown field "b""#);
        let many: Vec<String> = (0..10).map(|number| format!("{number}{}", "x".repeat(200))).collect();
        let text = message(&warnings(&many.iter().map(String::as_str).collect::<Vec<_>>()));
        assert!(text.len() < 1024 && text.ends_with("; and 7 more"), "{text}");
    }

    #[test]
    fn a_spec_that_is_ignored_in_part_is_accepted_with_a_reason_of_its_own() {
        let table = [
            (warnings(&[]), "Valid"),
            (warnings(&["b", r#"unknown field "a""#]), FIELDS_IGNORED),
            (warnings(&["a is deprecated"]), API_SERVER_WARNINGS),
        ];
        for (warnings, expected) in table {
            let condition = accepted("Accepted", &warnings);
            assert_eq!((condition.status, condition.reason.as_str()), (Some(true), expected));
            assert_eq!(is_reason(expected), expected != "Valid");
        }
    }
}
