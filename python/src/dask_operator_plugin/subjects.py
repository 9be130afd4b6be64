"""Examples of subjects and of their Dask resources, as the controller creates them. They are for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COMPONENT, _CLUSTER, _GROUP = "dask.org/component", "dask.org/cluster-name", "dask.org/workergroup-name"
_UIDS = {
    "Service": "7d1f7c4e-5d3a-4a39-9c3a-0d2c5f3b8a11",
    "Deployment": "2f6f4c0e-8a5e-4c64-9a51-3c1c1f0f4b22",
    "Pod": "b9d3d7a4-64c1-4a4c-8d3f-7e5a0c9b6d33",
    "DaskCluster": "0a4be3f2-1c55-4f0e-9a43-3f6d6ac1f1c2",
    "DaskWorkerGroup": "5b0e7a52-3c0f-4d0e-8f5b-9d3c1f6e2a77",
    "DaskJob": "e4a1c7d6-0b52-4a3b-9d76-1f8e2c5a9b44",
    "DaskAutoscaler": "c8f2b6e9-71d4-4f0a-8c25-6a9d3e7f1b55",
}


def scheduler_service(cluster: str = "demo", namespace: str = "team-a") -> dict[str, Any]:
    """Returns the scheduler's Service of a cluster."""
    labels = _labels("scheduler", cluster)
    ports = [
        {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": "tcp-comm"},
        {"name": "http-dashboard", "protocol": "TCP", "port": 8787, "targetPort": "http-dashboard"},
    ]
    spec = {"type": "ClusterIP", "selector": labels, "ports": ports}
    return _object("v1", "Service", f"{cluster}-scheduler", namespace, spec, labels)


def deployment(component: str = "scheduler", cluster: str = "demo", namespace: str = "team-a") -> dict[str, Any]:
    """Returns the Deployment of the scheduler or of a worker."""
    labels = _labels(component, cluster)
    name = f"{cluster}-scheduler" if component == "scheduler" else f"{cluster}-default-worker-4f1c2a9b07"
    template = {"metadata": {"labels": dict(labels)}, "spec": _pod_spec("dask", component)}
    spec = {"replicas": 1, "selector": {"matchLabels": dict(labels)}, "template": template}
    return _object("apps/v1", "Deployment", name, namespace, spec, labels)


def pod(component: str = "scheduler", cluster: str = "demo", namespace: str = "team-a") -> dict[str, Any]:
    """Returns the pod of the scheduler, of a worker, or of the runner (`job-runner`) of a DaskJob."""
    name = {
        "scheduler": f"{cluster}-scheduler-5d8f6c7b9d-x2x7k",
        "worker": f"{cluster}-default-worker-4f1c2a9b07-6c9d7f8b5-qr8lm",
    }.get(component, f"{cluster}-runner")
    return _object("v1", "Pod", name, namespace, _pod_spec("dask", component), _labels(component, cluster))


def dask_cluster(name: str = "demo", namespace: str = "team-a") -> dict[str, Any]:
    """Returns a minimal DaskCluster."""
    return _dask("DaskCluster", name, namespace, {})


def dask_worker_group(name: str = "demo-default", namespace: str = "team-a", cluster: str = "demo") -> dict[str, Any]:
    """Returns a DaskWorkerGroup of `cluster` with two workers."""
    worker = {"replicas": 2, "spec": _pod_spec("dask", "worker")}
    return _dask("DaskWorkerGroup", name, namespace, {"cluster": cluster, "worker": worker})


def dask_job(name: str = "demo", namespace: str = "team-a") -> dict[str, Any]:
    """Returns a DaskJob."""
    spec = {"job": {"spec": _pod_spec("python", "job.py")}, "cluster": {"spec": {}}}
    return _dask("DaskJob", name, namespace, spec)


def dask_autoscaler(name: str = "demo", namespace: str = "team-a", cluster: str = "demo") -> dict[str, Any]:
    """Returns a DaskAutoscaler of `cluster`."""
    return _dask("DaskAutoscaler", name, namespace, {"cluster": cluster, "minimum": 1, "maximum": 10})


def subject_of(kind: str, component: str | None = None) -> dict[str, Any]:
    """Returns an object of this kind and component, by default of the scheduler."""
    if kind in ("Deployment", "Pod"):
        return (deployment if kind == "Deployment" else pod)(component or "scheduler")
    return {
        "DaskCluster": dask_cluster,
        "DaskWorkerGroup": dask_worker_group,
        "DaskJob": dask_job,
        "DaskAutoscaler": dask_autoscaler,
    }.get(kind, scheduler_service)()


def owner_of(subject: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the Dask resource that owns the children of `subject`: the nearest one above it, or itself."""
    if str(subject["apiVersion"]).startswith("kubernetes.dask.org/"):
        return dict(subject)
    metadata = subject["metadata"]
    labels, namespace = metadata.get("labels", {}), metadata.get("namespace", "team-a")
    cluster = labels.get(_CLUSTER, "demo")
    component = labels.get(_COMPONENT)
    if component == "worker":
        return dask_worker_group(labels.get(_GROUP, f"{cluster}-default"), namespace, cluster)
    return (dask_job if component == "job-runner" else dask_cluster)(cluster, namespace)


def _labels(component: str, cluster: str) -> dict[str, str]:
    labels = {_CLUSTER: cluster, _COMPONENT: component}
    return labels | {_GROUP: f"{cluster}-default"} if component == "worker" else labels


def _pod_spec(*args: str) -> dict[str, Any]:
    return {"containers": [{"name": "dask", "image": "ghcr.io/dask/dask:latest", "args": list(args)}]}


def _dask(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object("kubernetes.dask.org/v1", kind, name, namespace, spec)


def _object(
    api_version: str,
    kind: str,
    name: str,
    namespace: str,
    spec: dict[str, Any],
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "uid": _UIDS[kind]}
    if labels is not None:
        metadata["labels"] = dict(labels)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
