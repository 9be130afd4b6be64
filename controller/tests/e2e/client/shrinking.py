"""A cluster that shrinks under load: nothing that is done gets lost or is done again."""

import time
from collections import Counter

import dask
from common import has_workers, small
from distributed import Client, get_worker, wait


def square(x, seconds=0):
    time.sleep(seconds)
    # The scheduler keeps this when the worker is gone.
    get_worker().log_event("done", x)
    return x**2


with small("shrinking", n_workers=4) as cluster, Client(cluster) as client:
    has_workers(client, 4)
    held = client.map(square, range(40))
    persisted = client.persist([dask.delayed(square)(x) for x in range(100, 140)])
    wait([*held, *persisted])
    running = client.map(square, range(200, 280), seconds=1)
    wait(running[:4], timeout=60)
    finished = [x for x, future in zip(range(200, 280), running) if future.done()]

    cluster.scale(2)
    has_workers(client, 2)
    assert not all(future.done() for future in running), "the workers left only when nothing was to be done"
    print("shrunk to two", flush=True)

    assert client.gather(held) == [x**2 for x in range(40)]
    assert client.gather(client.compute(persisted)) == [x**2 for x in range(100, 140)]
    assert client.gather(running) == [x**2 for x in range(200, 280)]
    counts = Counter(x for _, x in client.get_events("done"))
    again = {x: counts[x] for x in [*range(40), *range(100, 140), *finished] if counts[x] != 1}
    assert not again, f"how often each was computed: {again}"
