//! What hostile users store: each act is about one thing that a controller may stumble over.

use serde_json::{Value, json};

/// One thing that they do.
pub(crate) struct Act {
    /// By this name it can be chosen with `HOSTILE`.
    pub(crate) name: &'static str,
    pub(crate) deeds: Deeds,
}

/// What they know of others.
pub(crate) struct Around {
    /// The uid of the cluster `demo`.
    pub(crate) cluster: String,
    /// The uid of its default group.
    pub(crate) group: String,
    /// The uid of its scheduler's Service.
    pub(crate) service: String,
    /// Where a scheduler listens that says nothing.
    pub(crate) port: u16,
}

/// An object that they store.
pub(crate) struct Deed {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// As text, which may be nested deeper than a client can read.
    pub(crate) object: String,
    /// What is written to its status afterwards.
    pub(crate) status: Option<Value>,
    /// Whether it is deleted at once.
    pub(crate) deleted: bool,
}

/// Makes the objects of one act.
type Deeds = fn(&Around) -> Vec<Deed>;

/// All of them.
pub(crate) fn acts() -> Vec<Act> {
    let act = |(name, deeds)| Act { name, deeds };
    let acts: [(&'static str, Deeds); 16] = [
        ("number-beyond-i32", |_| {
            vec![group("number", &json!({"updateStrategy": {"maxUnavailable": 3_000_000_000_u64}}))]
        }),
        ("number-beyond-u32", |_| vec![plugin("number", "resyncSeconds", &json!(5_000_000_000_u64))]),
        ("deep-job", |_| vec![deep(job("deep", json!({"x": "HERE"})))]),
        ("deep-settings", |_| vec![deep(plugin("deep", "settings", &json!("HERE")))]),
        ("unknown-phase", |_| {
            vec![Deed { status: Some(json!({"phase": "Foo"})), ..refused_cluster("phase", &json!({})) }]
        }),
        ("odd-time", |_| vec![Deed { status: Some(odd_time()), ..group("time", &json!({})) }]),
        ("small-maps", |_| vec![refused_cluster("maps", &json!({"x": vec![json!({"a": 0}); 20_000]}))]),
        ("largest-numbers", |_| largest_numbers()),
        ("replicas", |around| vec![paced_cluster("many", 10_000, around), paced_cluster("endless", i32::MAX, around)]),
        ("odd-annotations", |_| odd_annotations()),
        ("finalizers", |_| vec![finalizers()]),
        ("silent-scheduler", |around| vec![paced_cluster("silent", 2, around), autoscaler("silent", json!({}))]),
        ("forged-worker", |around| vec![forged_worker(around)]),
        ("forged-service", |around| vec![forged_service(around)]),
        ("forged-children", |around| (0..12).map(|nth| forged_child(around, nth)).collect()),
        ("flood", |_| (0..40).map(|nth| group(&format!("flood-{nth}"), &json!({}))).collect()),
    ];
    acts.into_iter().map(act).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]
fn deed(kind: &'static str, name: &str, metadata: Value, spec: Value) -> Deed {
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
    Deed { kind, name, object: object.to_string(), status: None, deleted: false }
}

/// Replaces the text HERE by objects within objects.
fn deep(deed: Deed) -> Deed {
    const LEVELS: usize = 200;
    let nested = format!("{}0{}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    Deed { object: deed.object.replace("\"HERE\"", &nested), ..deed }
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

/// A cluster whose name is too long for one: nothing is made for it.
fn refused_cluster(name: &str, more: &Value) -> Deed {
    let spec = cluster_spec(8786, &json!({"spec": pod(more.clone())}));
    deed("DaskCluster", &format!("{name}-{}", "a".repeat(60)), json!({}), spec)
}

/// A cluster that asks for many workers, and for one of them at a time: so much can be run here.
fn paced_cluster(name: &str, replicas: i32, around: &Around) -> Deed {
    let allocation = json!({"batchSize": 1, "delaySeconds": 3600});
    let mut spec = cluster_spec(around.port, &json!({"replicas": replicas, "allocation": allocation}));
    spec["idleTimeout"] = json!(1);
    deed("DaskCluster", name, json!({}), spec)
}

/// A group of a cluster that there is not.
fn group(name: &str, more: &Value) -> Deed {
    let mut worker = json!({"replicas": 1, "spec": pod(json!({}))});
    worker.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    deed("DaskWorkerGroup", name, json!({}), json!({"cluster": "nope", "worker": worker}))
}

/// A job that waits for its turn for ever.
fn job(name: &str, runner: Value) -> Deed {
    let spec = json!({
        "suspend": true,
        "job": {"spec": pod(runner)},
        "cluster": {"spec": cluster_spec(8786, &json!({}))},
        "backoffLimit": i64::MAX,
        "activeDeadlineSeconds": i64::MAX,
        "ttlSecondsAfterFinished": i64::MAX,
    });
    deed("DaskJob", name, json!({}), spec)
}

fn autoscaler(name: &str, metadata: Value) -> Deed {
    let spec = json!({"cluster": format!("hostile-{name}"), "minimum": 0, "maximum": i64::MAX});
    deed("DaskAutoscaler", name, metadata, spec)
}

fn plugin(name: &str, field: &str, value: &Value) -> Deed {
    let mut spec = json!({
        "endpoint": {"socket": "hostile.sock"},
        "subjects": [{"kind": "Service", "component": "scheduler"}],
        "children": [{"apiVersion": "v1", "kind": "ConfigMap"}],
    });
    spec[field] = value.clone();
    deed("DaskOperatorPlugin", name, json!({}), spec)
}

/// Of a date that the API server takes for one.
fn odd_time() -> Value {
    json!({"conditions": [{
        "type": "Scaled", "status": "True", "reason": "Odd", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00+99:99",
    }]})
}

fn largest_numbers() -> Vec<Deed> {
    let worker = json!({
        "replicas": i64::MAX,
        "updateStrategy": {"maxUnavailable": "100%"},
        "retireDeadlineSeconds": i64::MAX,
        "allocation": {"batchSize": i64::MAX, "delaySeconds": i64::MAX},
    });
    let status = json!({"startTime": "9999-12-31T23:59:59Z", "jobStatus": "Suspended", "failedRunners": i64::MAX});
    vec![
        group("largest", &worker),
        Deed { status: Some(status), ..job("largest", json!({})) },
        autoscaler("largest", json!({})),
    ]
}

fn odd_annotations() -> Vec<Deed> {
    let annotations = |key: &str, value: &str| json!({"annotations": {key: value}});
    let retiring = annotations("operator.dask.org/retiring", "{\"kept\": {\"a\": \"2026-01-01T00:00:00+99:99\"}}");
    let spec = json!({"cluster": "nope", "worker": {"spec": pod(json!({}))}});
    vec![
        autoscaler("annotations", annotations("kubernetes.dask.org/cooldown-until", "NaN")),
        deed("DaskWorkerGroup", "annotations", retiring, spec),
    ]
}

/// Of plugins that there are not; it is on its way out, and waits for each of them.
fn finalizers() -> Deed {
    let finalizers: Vec<String> = (0..100).map(|nth| format!("plugin.kubernetes.dask.org/a{nth}")).collect();
    Deed { deleted: true, ..autoscaler("finalizers", json!({"finalizers": finalizers})) }
}

fn owned_by(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "kubernetes.dask.org/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

/// A Deployment that says it is a worker of another user's group.
fn forged_worker(around: &Around) -> Deed {
    let labels = json!({
        "dask.org/cluster-name": "demo", "dask.org/component": "worker", "dask.org/workergroup-name": "demo-default",
    });
    let owner = owned_by("DaskWorkerGroup", "demo-default", &around.group);
    let template = json!({"metadata": {"labels": labels}, "spec": pod(json!({}))});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
    deed("Deployment", "worker", json!({"labels": labels, "ownerReferences": owner}), spec)
}

/// A Service that says it is the scheduler's of another user.
fn forged_service(around: &Around) -> Deed {
    let labels = json!({"dask.org/component": "scheduler", "dask.org/cluster-name": "demo"});
    let metadata = json!({"labels": labels, "ownerReferences": owned_by("DaskCluster", "demo", &around.cluster)});
    deed("Service", "service", metadata, json!({"selector": {"app": "a"}, "ports": [{"port": 8786}]}))
}

/// An object that says it is a plugin's child, for the subject of another user.
fn forged_child(around: &Around, nth: usize) -> Deed {
    let labels = json!({
        "plugin.kubernetes.dask.org/plugin": "good",
        "plugin.kubernetes.dask.org/subject-uid": around.service,
        "plugin.kubernetes.dask.org/key": "z",
    });
    let metadata = json!({"labels": labels, "ownerReferences": owned_by("DaskCluster", "demo", &around.cluster)});
    deed("ConfigMap", &format!("child-{nth}"), metadata, Value::Null)
}
