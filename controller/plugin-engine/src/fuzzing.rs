//! Entry points for fuzzing: the decisions about plugins' responses and about the objects that plugins are called
//! about.

use std::collections::BTreeMap;

use dask_operator_api::{DaskOperatorPlugin, SubjectKind, testing::mk_cluster};
use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    children::{
        child_ref::Ownership,
        origin::Origin,
        plan::{self, WantedChild},
        screen::{self, Screened},
    },
    client::response::{self, RawResponse},
    index::registration::Registration,
    model::{
        child_kind::ChildKind,
        child_version::ChildVersion,
        subject::{self, KeyedObject, SubjectKey},
    },
    resource,
    selector::expression::{Budget, Expression, Variables},
    sync::request::Question,
};
use plugin_protocol::EventReason;

/// Returns the time of all decisions. It is fixed, so that an input always leads to the same decisions.
fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1_800_000_000)
}

/// Parses an object that is written in this file.
#[expect(clippy::unwrap_used, reason = "its text is part of the program")]
fn known<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

const HOME: &str = "dask-operator";
/// The uid of the request that the answers belong to.
const REQUEST: &str = "sha256:0";

/// Validates a plugin resource, both in the operator's namespace and in that of a team.
pub fn resource(plugin: &DaskOperatorPlugin) {
    let namespace = plugin.namespace().unwrap_or_default();
    for home in [namespace.as_str(), HOME] {
        drop(resource::without_cluster(plugin, Vec::new(), home));
    }
}

/// Decides whether a plugin is called about an object, and builds the request.
pub fn subject(bytes: &[u8], kind: &str) {
    const KINDS: [SubjectKind; 7] = [
        SubjectKind::DaskCluster,
        SubjectKind::DaskWorkerGroup,
        SubjectKind::DaskJob,
        SubjectKind::DaskAutoscaler,
        SubjectKind::Service,
        SubjectKind::Deployment,
        SubjectKind::Pod,
    ];
    let Some(kind) = KINDS.into_iter().find(|known| subject::kind_name(*known) == kind) else { return };
    let Ok(object) = serde_json::from_slice::<DynamicObject>(bytes) else { return };
    let Some(plugin) = registration() else { return };
    let owner: DynamicObject = known(json!(mk_cluster("demo")));
    let owner_key = SubjectKey::of(SubjectKind::DaskCluster, &owner);
    let _below = (subject::owner_of(kind, &object), subject::is_below(kind, &object, &owner));
    let _version = ChildVersion::of(&object);
    if !plugin.matches(kind, &object) {
        return;
    }
    let key = SubjectKey::of(kind, &object);
    let subject = KeyedObject { key: &key, object: &object };
    drop(plugin.decide(subject, KeyedObject { key: &owner_key, object: &owner }));
    let question = Question {
        plugin: &plugin,
        key: &key,
        object: &object,
        owner_key: &owner_key,
        owner: &owner,
        reason: EventReason::Updated,
        now: now(),
        dry_run: false,
    };
    drop(question.request(BTreeMap::new(), 1));
}

/// Reads, screens and plans an answer.
pub fn answer(body: &[u8]) {
    drop(response::check_code(&raw(503, body)));
    drop(response::check_code(&raw(500, body)));
    let Ok(answer) = response::interpret(&raw(200, body), REQUEST) else { return };
    let Some(plugin) = registration() else { return };
    let owner: DynamicObject = known(json!(mk_cluster("demo")));
    let key = SubjectKey::of(SubjectKind::DaskCluster, &owner);
    let cluster = KeyedObject { key: &key, object: &owner };
    let origin = Origin::new(&plugin, cluster, cluster, &[]);
    let Screened { approved, .. } = screen::screen(answer.parsed().children, &origin);
    let claim = Ownership { plugin: &plugin.identity, subject_uid: "cluster-uid", owner_uid: "cluster-uid" };
    drop(plan::plan(approved.into_iter().map(|child| WantedChild { child, live: None }).collect(), Vec::new(), claim));
}

/// Reads the response of a plugin to a discovery.
pub fn discovery(body: &[u8]) {
    let _speaks = response::parse_discovery(&raw(200, body)).map(|discovery| discovery.speaks_our_version());
}

/// Compiles an expression and evaluates it.
pub fn expression(text: &str, object: &Value) {
    if let Ok(expression) = Expression::compile(text) {
        let owner = json!(mk_cluster("demo"));
        drop(expression.evaluate(&Variables::of_json(object, &owner, Some("scheduler")), &mut Budget::new()));
    }
}

fn raw(code: u16, body: &[u8]) -> RawResponse {
    let head = String::from_utf8_lossy(body).chars().take(40).collect();
    RawResponse { code, retry_after: Some(head), at: now(), body: body.to_vec() }
}

/// Returns a plugin that is called about all objects, and that may write three kinds.
fn registration() -> Option<Registration> {
    let plugin: DaskOperatorPlugin = known(json!({
        "apiVersion": "kubernetes.dask.org/v1alpha1",
        "kind": "DaskOperatorPlugin",
        "metadata": {"name": "echo", "namespace": HOME, "uid": "plugin-uid", "generation": 1},
        "spec": {
            "endpoint": {"service": {"name": "echo"}},
            "subjects": [
                {"kind": "DaskCluster"}, {"kind": "DaskWorkerGroup"}, {"kind": "DaskJob"}, {"kind": "DaskAutoscaler"},
                {"kind": "Service"}, {"kind": "Deployment"}, {"kind": "Pod"},
            ],
            "match": {"conditions": [{"name": "named", "expression": "object.metadata.name != ''"}]},
            "children": [
                {"apiVersion": "v1", "kind": "ConfigMap"},
                {"apiVersion": "v1", "kind": "Secret", "allowSensitive": true},
                {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"},
            ],
        },
    }));
    let kind = |(group, version, kind): (&str, &str, &str)| ChildKind {
        resource: ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)),
        namespaced: true,
        allow_sensitive: true,
        recreate: false,
    };
    let kinds = [("", "v1", "ConfigMap"), ("", "v1", "Secret"), ("networking.k8s.io", "v1", "Ingress")];
    resource::without_cluster(&plugin, kinds.map(kind).to_vec(), HOME).ok()
}
