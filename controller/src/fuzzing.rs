//! Entry points for fuzzing, one for each kind of input that others store or send. Each reads any bytes and makes the
//! decisions that the controller would make about them. It must not panic, and its time and memory must be in
//! proportion to the size of the input.
//!
//! `controller/fuzz` has a target for each function, with a corpus of interesting inputs. `tests/fuzz_corpus.rs` runs
//! these inputs with every `cargo test`.

use std::sync::Arc;

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskOperatorPlugin, DaskWorkerGroup};
use dask_plugin_engine as plugin;
use k8s_openapi::api::core::v1::Service;
use operator_runtime::received::Received;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::scheduler;
pub use crate::view::{DeploymentView, PodView};
use crate::{autoscaler, cluster, diagnosis, fuzzing_fixtures::known, idle, job, kopf, worker_group};

/// An entry point that reads any bytes.
pub type Entry = fn(&[u8]);

/// All entry points, by the name of their target.
pub const ENTRIES: [(&str, Entry); 8] = [
    ("kopf_flags", kopf_flags),
    ("match_expression", match_expression),
    ("object", object),
    ("plugin_answer", plugin_answer),
    ("plugin_discovery", plugin_discovery),
    ("scheduler_frames", scheduler_frames),
    ("scheduler_http", scheduler_http),
    ("scheduler_reply", scheduler_reply),
];

/// A worker of [`demo_group`].
const WORKER: &str = "demo-default-worker-0000000000";

/// Returns a cluster `demo` with the uid `cluster-uid`, which exists besides the input.
pub(crate) fn demo_cluster() -> DaskCluster {
    known(json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "demo", "namespace": "ns", "uid": "cluster-uid", "generation": 1},
        "spec": {
            "scheduler": {
                "spec": {"containers": [{"name": "scheduler", "image": "dask"}]},
                "service": {"ports": [{"name": "tcp-comm", "port": 8786}]},
            },
            "worker": {"replicas": 2, "spec": {"containers": [{"name": "worker", "image": "dask"}]}},
        },
    }))
}

/// Returns the default group of [`demo_cluster`], with the uid `group-uid`.
pub(crate) fn demo_group() -> DaskWorkerGroup {
    known(json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {"name": "demo-default", "namespace": "ns", "uid": "group-uid", "generation": 1},
        "spec": {"cluster": "demo", "worker": {"replicas": 2, "spec": {"containers": [{"name": "worker"}]}}},
    }))
}

/// Reads an object of a watched kind, as JSON.
pub fn object(bytes: &[u8]) {
    #[derive(Deserialize)]
    struct Typed {
        kind: String,
    }
    let Ok(Typed { kind }) = serde_json::from_slice(bytes) else { return };
    match kind.as_str() {
        "DaskCluster" => with(bytes, decide_cluster),
        "DaskWorkerGroup" => with(bytes, |group| worker_group::fuzzing::decide(&group, demo_cluster())),
        "DaskJob" => with(bytes, |job| decide_job(&job)),
        "DaskAutoscaler" => with(bytes, decide_autoscaler),
        "DaskOperatorPlugin" => with(bytes, |resource: DaskOperatorPlugin| plugin::fuzzing::resource(&resource)),
        "Deployment" => with(bytes, |deployment: DeploymentView| drop(diagnosis::of(&deployment, []))),
        "Service" => with(bytes, |service: Service| {
            drop(scheduler::endpoint_of(&service, "cluster.local", None));
        }),
        "Pod" => with(bytes, |pod| decide_pod(&pod)),
        _ => {}
    }
    plugin::fuzzing::subject(bytes, &kind);
}

/// Parses an object as the watches do.
fn with<K: DeserializeOwned>(bytes: &[u8], decide: impl FnOnce(K)) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Received::Readable { object, .. } = Received::parse(text) {
        decide(object);
    }
}

fn decide_cluster(cluster: DaskCluster) {
    drop(cluster::manifests(&cluster));
    idle::fuzzing::decide(&cluster, None);
    autoscaler::fuzzing::decide(known_autoscaler(), (&cluster, &demo_group()));
    worker_group::fuzzing::decide(&demo_group(), cluster);
}

fn decide_job(job: &DaskJob) {
    job::fuzzing::decide(job, &known(json!({"metadata": {"name": "demo-runner"}})));
}

fn decide_autoscaler(autoscaler: DaskAutoscaler) {
    autoscaler::fuzzing::decide(autoscaler, (&demo_cluster(), &demo_group()));
}

fn known_autoscaler() -> DaskAutoscaler {
    known(json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": "demo", "namespace": "ns", "uid": "autoscaler-uid"},
        "spec": {"cluster": "demo", "minimum": 1, "maximum": 10},
    }))
}

fn decide_pod(pod: &PodView) {
    drop(diagnosis::of(&DeploymentView::default(), [pod]));
    worker_group::fuzzing::stand(std::slice::from_ref(pod), &dask_scheduler_client::fuzzing::Said::default());
    job::fuzzing::decide(
        &known(json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskJob",
            "metadata": {"name": "demo", "namespace": "ns", "uid": "job-uid"},
            "spec": {
                "job": {"spec": {"containers": [{"name": "runner"}]}},
                "cluster": {"spec": demo_cluster().spec},
                "backoffLimit": 3,
                "activeDeadlineSeconds": 60,
            },
            "status": {"jobStatus": "Running", "startTime": "2026-01-01T00:00:00Z"},
        })),
        pod,
    );
}

/// Reads the body of a plugin's answer about a subject.
pub fn plugin_answer(bytes: &[u8]) {
    plugin::fuzzing::answer(bytes);
}

/// Reads the body of a plugin's response to a discovery.
pub fn plugin_discovery(bytes: &[u8]) {
    plugin::fuzzing::discovery(bytes);
}

/// Reads an expression of `match.conditions` and, after the first line break, the subject as JSON.
pub fn match_expression(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (expression, object) = text.split_once('\n').unwrap_or((text, "{}"));
    plugin::fuzzing::expression(expression, &serde_json::from_str(object).unwrap_or_default());
}

/// Reads all bytes that a scheduler sends in one connection.
pub fn scheduler_frames(bytes: &[u8]) {
    for said in dask_scheduler_client::fuzzing::frames(bytes) {
        decide_by(&said);
    }
}

/// Reads the first frame of a scheduler's reply, as msgpack. It is read as the reply to each kind of request.
pub fn scheduler_reply(bytes: &[u8]) {
    decide_by(&dask_scheduler_client::fuzzing::reply(bytes));
}

/// Reads the body of a scheduler's HTTP reply, as the reply to each kind of request.
pub fn scheduler_http(bytes: &[u8]) {
    decide_by(&dask_scheduler_client::fuzzing::http_reply(bytes));
}

fn decide_by(said: &dask_scheduler_client::fuzzing::Said) {
    let replica_set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{WORKER}-a"), "uid": "u"});
    let pods = known::<Vec<PodView>>(json!([{
        "metadata": {
            "name": format!("{WORKER}-a-b"),
            "labels": {"pod-template-hash": "a"},
            "ownerReferences": [replica_set],
        },
        "status": {"podIP": "10.0.0.1"},
    }]));
    worker_group::fuzzing::stand(&pods, said);
    autoscaler::fuzzing::count(WORKER, pods.into_iter().map(Arc::new).collect(), said);
    let mut cluster = demo_cluster();
    cluster.spec.idle_timeout = 60;
    idle::fuzzing::decide(&cluster, said.idle_since);
}

/// Reads flags of kopf, separated by white space. Each further line is an environment variable: `NAME=value`.
pub fn kopf_flags(bytes: &[u8]) {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (flags, variables) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let words = flags.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let args: Vec<OsString> = words.map(|word| OsString::from_vec(word.to_vec())).collect();
    let variables = String::from_utf8_lossy(variables);
    let find = |name: &str| {
        let values = variables.lines().filter_map(|line| line.split_once('='));
        values.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    drop(kopf::read(&args, find));
}
