//! How tools that deploy understand the status of a resource: kstatus (Helm, Flux), `kubectl wait` and Argo CD. Also the
//! resources that Argo CD's health scripts are tested with, which tests of statuses write.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::conditions;

/// A resource in some state, and how tools understand it.
#[derive(Clone, Debug)]
pub struct HealthCase {
    /// The name of the state: lower-case words and `_`.
    pub state: &'static str,
    /// The resource.
    pub object: Value,
    /// The status that kstatus computes: `InProgress`, `Current`, `Failed` or `Terminating`.
    pub kstatus: &'static str,
    /// The health that Argo CD shows: `Progressing`, `Healthy`, `Degraded` or `Suspended`.
    pub health: &'static str,
    /// The message that Argo CD shows.
    pub message: String,
}

/// Returns what kstatus computes for a custom resource: see `pkg/kstatus` of sigs.k8s.io/cli-utils.
pub fn kstatus(object: &Value) -> &'static str {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating";
    }
    let (generation, observed) = (&object["metadata"]["generation"], &object["status"]["observedGeneration"]);
    if generation.is_i64() && observed.is_i64() && generation != observed {
        return "InProgress";
    }
    let of = |type_: &str| find(object, type_).and_then(|condition| condition["status"].as_str());
    match (of("Reconciling"), of(conditions::STALLED), of(conditions::READY)) {
        (Some("True"), _, _) => "InProgress",
        (_, Some("True"), _) => "Failed",
        (_, _, Some("False" | "Unknown")) => "InProgress",
        // A resource without any of these conditions counts as current.
        _ => "Current",
    }
}

/// Returns whether `kubectl wait --for=condition=TYPE` ends. It ignores a condition about an older spec.
pub fn is_met(object: &Value, type_: &str) -> bool {
    let Some(condition) = find(object, type_) else { return false };
    let observed = condition["observedGeneration"].as_i64().or_else(|| object["status"]["observedGeneration"].as_i64());
    let is_outdated = observed.is_some_and(|observed| Some(observed) < object["metadata"]["generation"].as_i64());
    condition["status"] == "True" && !is_outdated
}

/// Returns the message that Argo CD's health scripts give for a resource with conditions.
pub fn health_message(object: &Value) -> String {
    let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let finalizers = finalizers.collect::<Vec<_>>().join(", ");
    let is_observed = object["metadata"]["generation"] == object["status"]["observedGeneration"];
    match find(object, conditions::READY) {
        _ if object["metadata"]["deletionTimestamp"].is_string() => {
            format!("the resource is being deleted, and waits for finalizers: {finalizers}")
        }
        Some(ready) if is_observed => ready["message"].as_str().unwrap_or_default().to_owned(),
        _ => "the controller has not observed the resource yet".to_owned(),
    }
}

fn find<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

/// Checks `cases` of `kind` against kstatus' rules, and that `docs/argo-cd` has them as the test data of the kind's health
/// script. With `UPDATE_TESTDATA` in the environment, the files are written. `docs/argo-cd/check` runs the script and
/// kstatus itself on them.
pub fn check_health(kind: &str, cases: &[HealthCase]) {
    for case in cases {
        assert_eq!(kstatus(&case.object), case.kstatus, "{kind} {}", case.state);
        // Those who wait by any of the three go on at the same time. A DaskJob has no conditions.
        let is_ready = is_met(&case.object, conditions::READY);
        assert!(kind == "DaskJob" || (case.health == "Healthy") == is_ready, "{kind} {}", case.state);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/argo-cd");
    let dir = root.join("resource_customizations/kubernetes.dask.org").join(kind);
    let mut files: Vec<(PathBuf, Value)> = cases
        .iter()
        .map(|case| (dir.join(input_path(case)), case.object.clone()))
        .chain([
            (dir.join("health_test.yaml"), test_file(cases)),
            (root.join(format!("kstatus/{kind}.yaml")), statuses(cases)),
        ])
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    if env::var_os("UPDATE_TESTDATA").is_some() {
        let _ = fs::remove_dir_all(dir.join("testdata"));
        fs::create_dir_all(dir.join("testdata")).unwrap();
        fs::create_dir_all(root.join("kstatus")).unwrap();
        for (path, value) in &files {
            fs::write(path, serde_saphyr::to_string(value).unwrap()).unwrap();
        }
    }
    let count = fs::read_dir(dir.join("testdata")).map(Iterator::count).unwrap_or_default();
    assert_eq!(count, cases.len(), "{} has files of other states", dir.display());
    for (path, value) in files {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let is_fresh = serde_saphyr::from_str::<Value>(&text).is_ok_and(|stored| stored == value);
        assert!(is_fresh, "{} is out of date: run the test with UPDATE_TESTDATA=1", path.display());
    }
}

fn input_path(case: &HealthCase) -> String {
    format!("testdata/{}.yaml", case.state)
}

/// Returns the contents of `health_test.yaml`, as Argo CD's own tests read it.
fn test_file(cases: &[HealthCase]) -> Value {
    let test = |case: &HealthCase| json!({"healthStatus": {"status": case.health, "message": case.message}, "inputPath": input_path(case)});
    json!({"tests": cases.iter().map(test).collect::<Vec<_>>()})
}

fn statuses(cases: &[HealthCase]) -> Value {
    cases.iter().map(|case| (input_path(case), json!(case.kstatus))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(observed: Option<i64>, conditions: &[(&str, &str)]) -> Value {
        let condition = |(type_, status): &(&str, &str)| json!({"type": type_, "status": status});
        let conditions: Vec<Value> = conditions.iter().map(condition).collect();
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "conditions": conditions}})
    }

    #[test]
    fn kstatus_looks_at_the_generation_then_at_its_own_conditions_then_at_ready() {
        let table = [
            (Some(1), vec![("Ready", "True")], "InProgress", false),
            (Some(2), vec![("Ready", "True")], "Current", true),
            (Some(2), vec![("Ready", "False")], "InProgress", false),
            (Some(2), vec![("Ready", "Unknown")], "InProgress", false),
            (Some(2), vec![("Ready", "False"), ("Stalled", "True")], "Failed", false),
            (Some(2), vec![("Stalled", "True"), ("Reconciling", "True")], "InProgress", false),
            (Some(-1), vec![], "InProgress", false),
            (None, vec![], "Current", false),
        ];
        for (observed, conditions, expected, met) in table {
            let object = object(observed, &conditions);
            assert_eq!((kstatus(&object), is_met(&object, "Ready")), (expected, met), "{object}");
        }
        let mut going = object(Some(2), &[("Ready", "True")]);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(kstatus(&going), "Terminating");
    }
}
