"""A second group of workers: added, scaled and removed without touching the first."""

from common import has_workers, small, until, workers
from distributed import Client

with small("grouped") as cluster, Client(cluster) as client:
    default = has_workers(client, 1)

    cluster.add_worker_group("extra", n_workers=1)
    both = has_workers(client, 2)
    assert default < both, both
    assert all(name.startswith("grouped-extra-worker-") for name in both - default), both

    cluster.scale(3, worker_group="extra")
    assert default < has_workers(client, 4)
    squares = client.map(lambda x: x**2, range(50))
    assert sum(client.gather(squares)) == 40425
    print("the second group has grown", flush=True)

    cluster.scale(1, worker_group="extra")
    assert default < has_workers(client, 2)
    assert sum(client.gather(squares)) == 40425
    print("the second group has shrunk", flush=True)

    cluster.delete_worker_group("extra")
    until("only the first group's worker", lambda: workers(client) == default)
    assert client.submit(sum, range(10)).result(timeout=60) == 45
