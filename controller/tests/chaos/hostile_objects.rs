//! The attacks of hostile users: each stores objects that a careless controller would mishandle in one way.

use serde_json::{Value, json};

/// An attack.
pub(crate) struct Attack {
    /// `HOSTILE` selects it by this name.
    pub(crate) name: &'static str,
    pub(crate) objects: Objects,
}

/// The objects of other users that are attacked.
pub(crate) struct Victims {
    /// The uid of the cluster `demo`.
    pub(crate) cluster: String,
    /// The uid of its default group.
    pub(crate) group: String,
    /// The uid of its scheduler's Service.
    pub(crate) service: String,
    /// The port of a scheduler that never responds.
    pub(crate) port: u16,
}

/// An object that they store.
pub(crate) struct HostileObject {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// As text, which may be nested deeper than a client can read.
    pub(crate) manifest: String,
    /// What is written to its status afterwards.
    pub(crate) status: Option<Value>,
    /// Whether it is deleted at once.
    pub(crate) deleted: bool,
}

/// Returns the objects of one attack.
type Objects = fn(&Victims) -> Vec<HostileObject>;

/// Returns all attacks.
pub(crate) fn attacks() -> Vec<Attack> {
    let attack = |(name, objects)| Attack { name, objects };
    let attacks: [(&'static str, Objects); 16] = [
        ("number-beyond-i32", |_| {
            vec![group("number", &json!({"updateStrategy": {"maxUnavailable": 3_000_000_000_u64}}))]
        }),
        ("number-beyond-u32", |_| vec![plugin("number", "resyncSeconds", &json!(5_000_000_000_u64))]),
        ("deep-job", |_| vec![deep(job("deep", json!({"x": "HERE"})))]),
        ("deep-settings", |_| vec![deep(plugin("deep", "settings", &json!("HERE")))]),
        ("unknown-phase", |_| {
            vec![HostileObject { status: Some(json!({"phase": "Foo"})), ..refused_cluster("phase", &json!({})) }]
        }),
        ("odd-time", |_| vec![HostileObject { status: Some(odd_time()), ..group("time", &json!({})) }]),
        ("small-maps", |_| vec![refused_cluster("maps", &json!({"x": vec![json!({"a": 0}); 20_000]}))]),
        ("largest-numbers", |_| largest_numbers()),
        ("replicas", |victims| {
            vec![paced_cluster("many", 10_000, victims), paced_cluster("endless", i32::MAX, victims)]
        }),
        ("odd-annotations", |_| odd_annotations()),
        ("finalizers", |_| vec![finalizers()]),
        ("silent-scheduler", |victims| vec![paced_cluster("silent", 2, victims), autoscaler("silent", json!({}))]),
        ("forged-worker", |victims| vec![forged_worker(victims)]),
        ("forged-service", |victims| vec![forged_service(victims)]),
        ("forged-children", |victims| (0..12).map(|nth| forged_child(victims, nth)).collect()),
        ("flood", |_| (0..40).map(|nth| group(&format!("flood-{nth}"), &json!({}))).collect()),
    ];
    attacks.into_iter().map(attack).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]
fn hostile_object(kind: &'static str, name: &str, metadata: Value, spec: Value) -> HostileObject {
    let name = format!("hostile-{name}");
    let api_version = match kind {
        "DaskOperatorPlugin" => "kubernetes.dask.org/v1alpha1",
        "Deployment" => "apps/v1",
        "Service" | "ConfigMap" => "v1",
        _ => "kubernetes.dask.org/v1",
    };
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
    object["metadata"]["name"] = json!(name);
    if kind != "ConfigMap" {
        object["spec"] = spec;
    }
    HostileObject { kind, name, manifest: object.to_string(), status: None, deleted: false }
}

/// Replaces the text HERE by objects within objects.
fn deep(object: HostileObject) -> HostileObject {
    const LEVELS: usize = 200;
    let nested = format!("{}0{}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    HostileObject { manifest: object.manifest.replace("\"HERE\"", &nested), ..object }
}

#[expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]
fn pod(more: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "a", "image": "a"}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn cluster_spec(port: u16, worker: &Value) -> Value {
    let mut spec = json!({
        "scheduler": {
            "spec": pod(json!({})),
            "service": {"selector": {"app": "a"}, "ports": [{"name": "tcp-comm", "port": port}]},
        },
        "worker": {"replicas": 1, "spec": pod(json!({}))},
    });
    spec["worker"].as_object_mut().unwrap().extend(worker.as_object().unwrap().clone());
    spec
}

/// A cluster whose name is too long: the controller creates nothing for it.
fn refused_cluster(name: &str, more: &Value) -> HostileObject {
    let spec = cluster_spec(8786, &json!({"spec": pod(more.clone())}));
    hostile_object("DaskCluster", &format!("{name}-{}", "a".repeat(60)), json!({}), spec)
}

/// A cluster that asks for many workers, but creates one an hour, so that a test can run it.
fn paced_cluster(name: &str, replicas: i32, victims: &Victims) -> HostileObject {
    let allocation = json!({"batchSize": 1, "delaySeconds": 3600});
    let mut spec = cluster_spec(victims.port, &json!({"replicas": replicas, "allocation": allocation}));
    spec["idleTimeout"] = json!(1);
    hostile_object("DaskCluster", name, json!({}), spec)
}

/// A group whose cluster does not exist.
fn group(name: &str, more: &Value) -> HostileObject {
    let mut worker = json!({"replicas": 1, "spec": pod(json!({}))});
    worker.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    hostile_object("DaskWorkerGroup", name, json!({}), json!({"cluster": "nope", "worker": worker}))
}

/// A job that stays suspended.
fn job(name: &str, runner: Value) -> HostileObject {
    let spec = json!({
        "suspend": true,
        "job": {"spec": pod(runner)},
        "cluster": {"spec": cluster_spec(8786, &json!({}))},
        "backoffLimit": i64::MAX,
        "activeDeadlineSeconds": i64::MAX,
        "ttlSecondsAfterFinished": i64::MAX,
    });
    hostile_object("DaskJob", name, json!({}), spec)
}

fn autoscaler(name: &str, metadata: Value) -> HostileObject {
    let spec = json!({"cluster": format!("hostile-{name}"), "minimum": 0, "maximum": i64::MAX});
    hostile_object("DaskAutoscaler", name, metadata, spec)
}

fn plugin(name: &str, field: &str, value: &Value) -> HostileObject {
    let mut spec = json!({
        "endpoint": {"socket": "hostile.sock"},
        "subjects": [{"kind": "Service", "component": "scheduler"}],
        "children": [{"apiVersion": "v1", "kind": "ConfigMap"}],
    });
    spec[field] = value.clone();
    hostile_object("DaskOperatorPlugin", name, json!({}), spec)
}

/// A status with an invalid date that the API server accepts.
fn odd_time() -> Value {
    json!({"conditions": [{
        "type": "Scaled", "status": "True", "reason": "Odd", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00+99:99",
    }]})
}

fn largest_numbers() -> Vec<HostileObject> {
    let worker = json!({
        "replicas": i64::MAX,
        "updateStrategy": {"maxUnavailable": "100%"},
        "retireDeadlineSeconds": i64::MAX,
        "allocation": {"batchSize": i64::MAX, "delaySeconds": i64::MAX},
    });
    let status = json!({"startTime": "9999-12-31T23:59:59Z", "jobStatus": "Suspended", "failedRunners": i64::MAX});
    vec![
        group("largest", &worker),
        HostileObject { status: Some(status), ..job("largest", json!({})) },
        autoscaler("largest", json!({})),
    ]
}

fn odd_annotations() -> Vec<HostileObject> {
    let annotations = |key: &str, value: &str| json!({"annotations": {key: value}});
    let retiring = annotations("operator.dask.org/retiring", "{\"kept\": {\"a\": \"2026-01-01T00:00:00+99:99\"}}");
    let spec = json!({"cluster": "nope", "worker": {"spec": pod(json!({}))}});
    vec![
        autoscaler("annotations", annotations("kubernetes.dask.org/cooldown-until", "NaN")),
        hostile_object("DaskWorkerGroup", "annotations", retiring, spec),
    ]
}

/// An autoscaler that is being deleted and has the finalizers of plugins that do not exist.
fn finalizers() -> HostileObject {
    let finalizers: Vec<String> = (0..100).map(|nth| format!("plugin.kubernetes.dask.org/a{nth}")).collect();
    HostileObject { deleted: true, ..autoscaler("finalizers", json!({"finalizers": finalizers})) }
}

fn owned_by(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "kubernetes.dask.org/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

/// A Deployment that claims to be a worker of another user's group.
fn forged_worker(victims: &Victims) -> HostileObject {
    let labels = json!({
        "dask.org/cluster-name": "demo", "dask.org/component": "worker", "dask.org/workergroup-name": "demo-default",
    });
    let owner = owned_by("DaskWorkerGroup", "demo-default", &victims.group);
    let template = json!({"metadata": {"labels": labels}, "spec": pod(json!({}))});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
    hostile_object("Deployment", "worker", json!({"labels": labels, "ownerReferences": owner}), spec)
}

/// A Service that claims to belong to another user's scheduler.
fn forged_service(victims: &Victims) -> HostileObject {
    let labels = json!({"dask.org/component": "scheduler", "dask.org/cluster-name": "demo"});
    let metadata = json!({"labels": labels, "ownerReferences": owned_by("DaskCluster", "demo", &victims.cluster)});
    hostile_object("Service", "service", metadata, json!({"selector": {"app": "a"}, "ports": [{"port": 8786}]}))
}

/// An object that claims to be a plugin's child of another user's subject.
fn forged_child(victims: &Victims, nth: usize) -> HostileObject {
    let labels = json!({
        "plugin.kubernetes.dask.org/plugin": "good",
        "plugin.kubernetes.dask.org/subject-uid": victims.service,
        "plugin.kubernetes.dask.org/key": "z",
    });
    let metadata = json!({"labels": labels, "ownerReferences": owned_by("DaskCluster", "demo", &victims.cluster)});
    hostile_object("ConfigMap", &format!("child-{nth}"), metadata, Value::Null)
}
