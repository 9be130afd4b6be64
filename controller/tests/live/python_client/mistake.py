"""Creates a KubeCluster with the arguments on standard input, shows what its user sees, and prints the end as JSON."""

import asyncio
import json
import os
import sys
import time

from dask_kubernetes.operator import KubeCluster


async def create(arguments):
    await KubeCluster(asynchronous=True, **arguments)


async def main():
    request = json.load(sys.stdin)
    begin = time.monotonic()
    task = asyncio.create_task(create(request["arguments"]))
    # Not `wait_for`: its exception would be that of the client.
    done, _ = await asyncio.wait({task}, timeout=request["limit"])
    if not done:
        task.cancel()
        await asyncio.wait({task})
        end = {"raised": "", "message": ""}
    else:
        error = task.exception()
        # dask-kubernetes' ValidationError has its text only there.
        message = str(error) or getattr(error, "message", "")
        end = {"raised": type(error).__name__, "message": message}
    print(json.dumps(end | {"seconds": time.monotonic() - begin}), flush=True)


asyncio.run(main())
# The client's exit handler would wait for clusters of an event loop that has ended.
os._exit(0)
