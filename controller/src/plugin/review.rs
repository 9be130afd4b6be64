//! Builds requests; pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::api::DynamicObject;
use plugin_protocol::{
    ControllerInfo, DigestError, Event, EventReason, Hook, Observed, ObservedChild, Owner, PluginInfo, PluginRequest,
    ReviewRequest, StatusInDigest, Subject, digest_of,
};
use serde_json::{Value, json};

use super::{
    registry::Registered,
    subject::{self, SubjectKey},
};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// All that a request is made of, but for the children.
pub(super) struct Question<'a> {
    pub(super) plugin: &'a Registered,
    pub(super) key: &'a SubjectKey,
    pub(super) object: &'a DynamicObject,
    pub(super) owner_key: &'a SubjectKey,
    pub(super) owner: &'a DynamicObject,
    pub(super) reason: EventReason,
    pub(super) now: Timestamp,
}

impl Question<'_> {
    /// The request with its uid. `children` are those that stand, by key.
    pub(super) fn request(
        &self,
        children: BTreeMap<String, Value>,
        attempt: u32,
    ) -> Result<ReviewRequest, DigestError> {
        let component = subject::component(self.key.kind, self.object);
        let owner = subject::api_resource(self.owner_key.kind);
        let observed = children.into_iter().map(|(key, object)| (key, ObservedChild { object: redacted(object) }));
        let mut request = PluginRequest {
            uid: String::new(),
            hook: Hook::Sync,
            attempt,
            dry_run: false,
            event: Event {
                type_: event_type(self.key, component),
                reason: self.reason,
                time: self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            },
            plugin: PluginInfo {
                name: self.plugin.key.name.clone(),
                namespace: self.plugin.key.namespace.clone(),
                generation: self.plugin.generation,
                settings: Value::Object(self.plugin.spec.settings.0.clone()),
            },
            controller: ControllerInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                capabilities: vec!["ResyncAfter".to_owned()],
            },
            subject: Subject {
                component: component.map(str::to_owned),
                object: to_json(self.object, &subject::api_resource(self.key.kind)),
            },
            owner: Owner { object: to_json(self.owner, &owner), api_version: owner.api_version, kind: owner.kind },
            observed: Observed { children: observed.collect() },
        };
        request.uid = digest_of(&request, self.status_in_digest(component))?;
        Ok(ReviewRequest::new(request))
    }

    fn status_in_digest(&self, component: Option<&str>) -> StatusInDigest {
        let included = self.plugin.rules_for(self.key.kind, component).any(|rule| rule.on_status);
        if included { StatusInDigest::Included } else { StatusInDigest::Ignored }
    }
}

fn event_type(key: &SubjectKey, component: Option<&str>) -> String {
    let kind = subject::kind_name(key.kind).to_lowercase();
    match component {
        Some(component) => format!("org.dask.kubernetes.{kind}.{component}"),
        None => format!("org.dask.kubernetes.{kind}"),
    }
}

/// Lists leave out apiVersion and kind of their items.
fn to_json(object: &DynamicObject, resource: &kube::core::ApiResource) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    value["apiVersion"] = json!(resource.api_version);
    value["kind"] = json!(resource.kind);
    redacted(value)
}

/// Managed fields are noise, and kubectl's annotation may hold what the user has since taken out.
fn redacted(mut object: Value) -> Value {
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    object
}
