//! Manifests as users write them.

use serde_json::{Value, json};

/// Returns a DaskCluster.
pub(crate) fn cluster(name: &str, workers: usize) -> Value {
    let scheduler = json!({
        "name": "scheduler",
        "image": "ghcr.io/dask/dask:latest",
        "args": ["dask-scheduler"],
        "env": [{"name": "MINE", "value": "1"}],
        "ports": [{"name": "tcp-comm", "containerPort": 8786}, {"name": "http-dashboard", "containerPort": 8787}],
    });
    let worker = json!({
        "name": "worker",
        "image": "ghcr.io/dask/dask:latest",
        "args": ["dask-worker", "--name", "$(DASK_WORKER_NAME)"],
        "env": [{"name": "MINE", "value": "1"}],
    });
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "scheduler": {
                "spec": {"containers": [scheduler]},
                "service": {
                    "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
                    "ports": [
                        {"name": "tcp-comm", "port": 8786, "targetPort": "tcp-comm"},
                        {"name": "http-dashboard", "port": 8787, "targetPort": "http-dashboard"},
                    ],
                },
            },
            "worker": {"replicas": workers, "spec": {"containers": [worker]}},
        },
    })
}

/// Returns a DaskJob of one worker, whose runner is not restarted.
pub(crate) fn job(name: &str) -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {
            "job": {"spec": {"restartPolicy": "Never", "containers": [{"name": "job", "image": "a"}]}},
            "cluster": {"spec": cluster(name, 1)["spec"]},
        },
    })
}
