"""What the programs share: clusters that are small enough for the test's node, and waiting."""

import os
import time

from dask_kubernetes.operator import KubeCluster


def small(name, **options):
    """A cluster of workers with one thread each."""
    options = {
        "image": os.environ["IMAGE"],
        "n_workers": 1,
        "worker_command": "dask-worker --nthreads 1",
        "quiet": True,
    } | options
    return KubeCluster(name=name, **options)


def until(what, condition, timeout=180):
    """Waits until `condition` holds, and gives what it returned."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.2)
    return value


def workers(client):
    """Names of all workers that the scheduler knows."""
    return {worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}


def has_workers(client, count, timeout=180):
    """Waits until the scheduler has exactly `count` workers, and gives their names."""
    until(f"{count} workers", lambda: len(workers(client)) == count, timeout)
    return workers(client)
