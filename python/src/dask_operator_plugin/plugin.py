"""A plugin: its handlers, its ASGI application and its server."""

from __future__ import annotations

from typing import Any

from .asgi import METRICS, Application, Probes
from .handlers import Handlers
from .serving import serve


class Plugin(Handlers):
    """A plugin decides which objects should exist beside one object of a Dask cluster.

    Handlers are plain functions, which run in threads, or coroutine functions. They must not keep state between calls
    that an answer depends on: the same request must lead to the same answer.

    The plugin is also an ASGI application, for any ASGI server.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one ASGI connection without checking credentials, unlike `run`.

        It also serves `GET /metrics`, which `run` serves on the port of the probes.
        """
        application = Probes(self) if scope.get("path") == METRICS else Application(self)
        await application(scope, receive, send)

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, configured by the environment (see `config`), and ends the process.

        It needs the extra `serve` of the package.
        """
        raise SystemExit(serve(self))
