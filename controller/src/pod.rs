//! Adapts the pod specs that users write to the workload they are used in. They stay raw JSON: a typed struct would
//! drop the fields of newer Kubernetes versions.

use dask_operator_api::JsonObject;
use serde_json::{Map, Value, json};

/// The restart policies that a workload allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    /// Only `Always`. Deployments allow nothing else, so the user's value is overridden.
    Always,
    /// The user's value is kept.
    Kept,
}

/// An environment variable to inject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvVar {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// Returns `spec` with `env` added to each container that does not set a variable of that name itself. Init containers
/// are not changed.
///
/// The variables are appended, as in dask-kubernetes, because users rely on `env[0]` being their own. However,
/// Kubernetes expands `$(NAME)` only from variables that are defined earlier. If a user's value refers to an injected
/// variable, that variable is therefore inserted first.
pub(crate) fn built(mut spec: Map<String, Value>, env: &[EnvVar], restart: RestartPolicy) -> Value {
    if restart == RestartPolicy::Always && spec.contains_key("restartPolicy") {
        spec.insert("restartPolicy".to_owned(), json!("Always"));
    }
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
        inject(container, env);
    }
    Value::Object(spec)
}

/// Returns whether [`built`] with [`RestartPolicy::Always`] changes the user's restart policy.
pub(crate) fn overrides_restart_policy(spec: &JsonObject) -> bool {
    let policy = spec.field("restartPolicy");
    !policy.is_null() && policy != "Always"
}

fn inject(container: &mut Map<String, Value>, env: &[EnvVar]) {
    let user = container.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
    let sets = |name: &str| user.iter().any(|variable| variable["name"] == name);
    let refers_to = |name: &str| {
        let reference = format!("$({name})");
        user.iter().any(|variable| variable["value"].as_str().is_some_and(|value| value.contains(&reference)))
    };
    let injected = env.iter().filter(|variable| !sets(variable.name));
    let (first, last): (Vec<_>, Vec<_>) = injected.partition(|variable| refers_to(variable.name));
    let to_json = |variable: &EnvVar| json!({"name": variable.name, "value": variable.value});
    let first = first.into_iter().map(to_json).collect::<Vec<_>>();
    let last = last.into_iter().map(to_json);
    let all: Vec<Value> = first.into_iter().chain(user).chain(last).collect();
    if !all.is_empty() {
        container.insert("env".to_owned(), Value::Array(all));
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]
mod tests {
    use super::*;

    const NAME: &str = "DASK_WORKER_NAME";

    fn env() -> Vec<EnvVar> {
        vec![EnvVar { name: NAME, value: "w".to_owned() }, EnvVar { name: "OTHER", value: "o".to_owned() }]
    }

    fn containers(spec: Value) -> Value {
        built(spec.as_object().unwrap().clone(), &env(), RestartPolicy::Kept)["containers"].clone()
    }

    #[test]
    fn injected_variables_come_last_and_never_replace_the_users_own() {
        let spec = json!({"containers": [{"name": "a", "env": [{"name": NAME, "value": "mine"}]}, {"name": "b"}]});
        let expected = json!([
            {"name": "a", "env": [{"name": NAME, "value": "mine"}, {"name": "OTHER", "value": "o"}]},
            {"name": "b", "env": [{"name": NAME, "value": "w"}, {"name": "OTHER", "value": "o"}]},
        ]);
        assert_eq!(containers(spec), expected);
    }

    #[test]
    fn a_variable_that_the_users_values_refer_to_comes_first() {
        let user = json!({"name": "LOG", "value": "/logs/$(DASK_WORKER_NAME)"});
        let spec = json!({"containers": [{"name": "a", "env": [user]}]});
        assert_eq!(containers(spec)[0]["env"][0], json!({"name": NAME, "value": "w"}));
    }

    #[test]
    fn init_containers_get_no_variables() {
        let spec = json!({"containers": [], "initContainers": [{"name": "init"}]});
        let built = built(spec.as_object().unwrap().clone(), &env(), RestartPolicy::Kept);
        assert_eq!(built["initContainers"], json!([{"name": "init"}]));
    }

    #[test]
    fn fields_that_nobody_knows_yet_survive() {
        let spec = json!({"containers": [], "futureField": {"a": [1]}, "schedulingGates": [{"name": "x"}]});
        assert_eq!(built(spec.as_object().unwrap().clone(), &env(), RestartPolicy::Always), spec);
    }

    /// `Never` makes a Deployment invalid, and dask-kubernetes then fails forever without reporting it.
    #[test]
    fn deployments_always_restart() {
        let spec = json!({"containers": [], "restartPolicy": "Never"});
        let spec = spec.as_object().unwrap();
        assert_eq!(built(spec.clone(), &[], RestartPolicy::Always)["restartPolicy"], "Always");
        assert_eq!(built(spec.clone(), &[], RestartPolicy::Kept)["restartPolicy"], "Never");
        assert!(overrides_restart_policy(&JsonObject::from(spec.clone())));
    }
}
