"""A cluster that goes away by itself, but not while it works."""

import time

import kr8s
from common import has_workers, small, until
from distributed import Client

IDLE_TIMEOUT = 10


def clusters():
    return [cluster.name for cluster in kr8s.get("daskclusters.kubernetes.dask.org")]


cluster = small("idle", idle_timeout=IDLE_TIMEOUT, shutdown_on_close=False)
with Client(cluster) as client:
    has_workers(client, 1)
    assert client.submit(lambda: time.sleep(2 * IDLE_TIMEOUT) or "done").result() == "done"
    ended = time.monotonic()
    assert clusters() == ["idle"], "it went while it worked"
cluster.close()
until("the idle cluster to go", lambda: not clusters())
idled = time.monotonic() - ended
assert idled >= IDLE_TIMEOUT - 1, f"it went after {idled} s"
