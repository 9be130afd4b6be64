"""Clusters made at the same time, connected to by name, asked for logs, scaled, and closed."""

from concurrent.futures import ThreadPoolExecutor

from common import has_workers, small
from dask_kubernetes.operator import KubeCluster
from distributed import Client

with ThreadPoolExecutor() as pool:
    # The second leaves out all that may be left out, which arrives as nulls.
    options = [
        {"env": {"GREETING": "hello"}, "resources": {"requests": {"memory": "64Mi", "cpu": "10m"}}},
        {},
        {"env": [{"name": "GREETING", "value": "hello"}]},
    ]
    clusters = list(pool.map(lambda name, options: small(name, **options), ["one", "two", "three"], options))
print("three clusters are up", flush=True)

for cluster in clusters:
    with Client(cluster) as client:
        has_workers(client, 1)
        assert client.submit(sum, range(10)).result(timeout=60) == 45
for cluster in clusters[1:]:
    cluster.close()
print("two clusters are closed", flush=True)

connected = KubeCluster.from_name("one", quiet=True)
with Client(connected) as client:
    assert client.submit(pow, 2, 10).result(timeout=60) == 1024
    logs = connected.get_logs()
    schedulers = [log for pod, log in logs.items() if "scheduler" in pod]
    workers = [log for pod, log in logs.items() if "worker" in pod]
    assert len(schedulers) == len(workers) == 1, logs.keys()
    assert "Scheduler at" in schedulers[0], schedulers[0]
    assert "Start worker at" in workers[0], workers[0]
    print("logs are there", flush=True)

    connected.scale(4)
    has_workers(client, 4)
    assert client.gather(client.map(lambda x: x + 1, range(100))) == list(range(1, 101))
    print("scaled to four", flush=True)
    connected.scale(1)
    has_workers(client, 1)
    assert client.submit(pow, 3, 4).result(timeout=60) == 81
    print("scaled to one", flush=True)
connected.close()
clusters[0].close()
