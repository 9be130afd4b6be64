"""A cluster that goes away by itself, but not while it works."""

import time

import kr8s
from common import small, until
from distributed import Client

# Long enough for the client to come before it is over: a scheduler that nobody used yet is idle.
IDLE_TIMEOUT = 20


def clusters():
    return [found.name for found in kr8s.get("daskclusters.kubernetes.dask.org", namespace=cluster.namespace)]


cluster = small("idle", idle_timeout=IDLE_TIMEOUT, shutdown_on_close=False)
with Client(cluster) as client:
    assert client.submit(lambda: time.sleep(1.5 * IDLE_TIMEOUT) or "done").result() == "done"
    ended = time.monotonic()
    assert clusters() == ["idle"], "it went while it worked"
cluster.close()
until("the idle cluster to go", lambda: not clusters())
idled = time.monotonic() - ended
assert idled >= IDLE_TIMEOUT - 1, f"it went after {idled} s"
