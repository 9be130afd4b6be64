//! What is known of one cluster: the objects that could be read, and what could not be read.

use dask_operator_api::conditions::SCHEDULER_READY;
use dask_operator_api::meta::{self, component};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::json::{condition, label, name, text};

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Gap {
    /// The kind that is missing, such as `pods`.
    pub(crate) resource: String,
    /// Why, such as the right that is missing.
    pub(crate) why: String,
}

/// The objects around one cluster.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) now: Timestamp,
    pub(crate) namespace: String,
    /// The options with which another command reaches the same API server.
    pub(crate) options: String,
    /// The name that was asked for.
    pub(crate) name: String,
    pub(crate) cluster: Option<Value>,
    /// The DaskJob of this name.
    pub(crate) job: Option<Value>,
    pub(crate) namespace_object: Option<Value>,
    pub(crate) groups: Vec<Value>,
    pub(crate) autoscalers: Vec<Value>,
    /// Those with the cluster's label.
    pub(crate) pods: Vec<Value>,
    pub(crate) deployments: Vec<Value>,
    /// All of the namespace.
    pub(crate) claims: Vec<Value>,
    pub(crate) quotas: Vec<Value>,
    /// Events about objects of the cluster.
    pub(crate) events: Vec<Value>,
    pub(crate) plugins: Vec<Value>,
    pub(crate) gaps: Vec<Gap>,
}

impl Snapshot {
    /// Returns the pods of one component.
    pub(crate) fn pods_of<'a>(&'a self, component: &'a str) -> impl Iterator<Item = &'a Value> {
        self.pods.iter().filter(move |pod| label(pod, meta::COMPONENT) == component)
    }

    /// Returns the pods of the workers of a group.
    pub(crate) fn workers_of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Value> {
        self.pods_of(component::WORKER).filter(move |pod| label(pod, meta::WORKER_GROUP) == group)
    }

    /// Returns the message of the newest Event about an object whose reason is one of `reasons`.
    pub(crate) fn event<'a>(&'a self, object: &str, reasons: &[&str]) -> Option<&'a str> {
        let about =
            |event: &&Value| text(event, "/involvedObject/name") == object && reasons.contains(&text(event, "/reason"));
        let newest = self.events.iter().filter(about).max_by_key(|event| last_seen(event))?;
        Some(text(newest, "/message"))
    }

    /// Returns whether the operator says that clients can connect to the scheduler.
    pub(crate) fn has_ready_scheduler(&self) -> bool {
        let ready = self.cluster.as_ref().and_then(|cluster| condition(cluster, SCHEDULER_READY));
        ready.is_some_and(|ready| ready.is_true())
    }

    /// Returns whether this kind could not be read.
    pub(crate) fn lacks(&self, resource: &str) -> bool {
        self.gaps.iter().any(|gap| gap.resource == resource)
    }

    /// Returns a command on an object of the namespace.
    pub(crate) fn kubectl(&self, command: &str) -> String {
        self.kubectl_in(&self.namespace, command)
    }

    /// Returns a command on an object of another namespace.
    pub(crate) fn kubectl_in(&self, namespace: &str, command: &str) -> String {
        format!("kubectl{} -n {namespace} {command}", self.options)
    }

    /// Returns a command on objects of all namespaces.
    pub(crate) fn kubectl_everywhere(&self, command: &str) -> String {
        format!("kubectl{} {command} -A", self.options)
    }

    /// Returns a command of this program.
    pub(crate) fn kubectl_dask(&self, command: &str) -> String {
        format!("kubectl dask {command} -n {}{}", self.namespace, self.options)
    }

    /// Returns the default group first.
    pub(crate) fn groups(&self) -> Vec<&Value> {
        let default = meta::default_group_name(&self.name);
        let mut groups: Vec<&Value> = self.groups.iter().collect();
        groups.sort_by_key(|group| (name(group) != default, name(group)));
        groups
    }
}

fn last_seen(event: &Value) -> &str {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.into_iter().map(|pointer| text(event, pointer)).find(|time| !time.is_empty()).unwrap_or_default()
}
