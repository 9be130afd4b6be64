"""A scheduler that crashes is raised with its log. Workers that crash are not: a condition of the cluster says so."""

import os

from common import small, until
from dask_kubernetes.exceptions import SchedulerStartupError
from dask_kubernetes.operator import KubeCluster, make_cluster_spec
from distributed import Client
from kr8s.objects import new_class

FAILS = ["python", "-c", "raise SystemExit('there is a typo')"]

spec = make_cluster_spec("crashes", image=os.environ["IMAGE"], n_workers=0)
spec["spec"]["scheduler"]["spec"]["containers"][0]["args"] = FAILS
try:
    KubeCluster(custom_cluster_spec=spec, resource_timeout=5, quiet=True)
except SchedulerStartupError as error:
    assert error.args[0] == "Scheduler failed to start.", error.args
    assert "there is a typo" in error.args[-1], error.args
else:
    raise AssertionError("nothing was raised")
print("the crash of the scheduler is raised with its log", flush=True)


def available():
    """The condition about the workers."""
    kind = new_class("DaskCluster", "kubernetes.dask.org/v1", asyncio=False)
    cluster = kind.get("workless", namespace=workless.namespace)
    conditions = {condition.type: condition for condition in cluster.status.conditions}
    return conditions["WorkersAvailable"]


workless = small("workless", worker_command=FAILS)
with Client(workless) as client:
    until("the condition", lambda: available().reason == "CrashLoopBackOff")
    assert available().status == "False"
    assert not client.scheduler_info(n_workers=-1)["workers"]
print("the crash of the workers is in a condition", flush=True)
workless.close()
