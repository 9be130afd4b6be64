"""A cluster that grows with its work and shrinks to nothing when all is done."""

import time

from common import has_workers, small
from distributed import Client


def slow(x):
    time.sleep(1)
    return x + 1


with small("adaptive", n_workers=0) as cluster, Client(cluster) as client:
    cluster.adapt(minimum=0, maximum=4)
    futures = client.map(slow, range(150))
    has_workers(client, 4)
    print("grown to four", flush=True)
    assert client.gather(futures) == list(range(1, 151))
    # What is held keeps its workers.
    del futures
    print("all done", flush=True)
    has_workers(client, 0)
