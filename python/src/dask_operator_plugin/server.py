"""The server of a plugin, on uvicorn: connections, certificates and signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .asgi import Application, Probes
from .config import Config
from .handlers import Handlers
from .listeners import bind_socket, bind_tcp
from .tls import Reloading, is_controller

SHUTDOWN_GRACE = 20
"""The seconds that calls in flight get after the drain. Together with the drain and `preStop`, they must fit into
`terminationGracePeriodSeconds`."""

log = logging.getLogger("dask_operator_plugin")


class _FromController(H11Protocol):
    """HTTP for the controller only."""

    def connection_made(self, transport: Any) -> None:
        if not is_controller(transport.get_extra_info("peercert")):
            log.warning("refused a client: its certificate is not the controller's")
            transport.abort()
            return
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        # A refused connection has no transport.
        if getattr(self, "transport", None) is not None:
            super().connection_lost(exc)


class _Server(uvicorn.Server):
    """Leaves signals to `run`, because a process has two servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(application: Any, **options: Any) -> _Server:
    config = uvicorn.Config(
        application,
        access_log=False,
        lifespan="off",
        log_config=None,
        loop="asyncio",
        # Longer than the 90 s for which HTTP clients keep idle connections. Otherwise the server might close a
        # connection while a request is on its way.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=SHUTDOWN_GRACE,
        ws="none",
        **options,
    )
    config.load()
    return _Server(config)


async def run(plugin: Handlers, config: Config) -> None:
    """Serves `plugin` until SIGTERM or SIGINT and the drain that follows. Raises `ConfigError`."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    probes = Probes(plugin)
    servers: list[_Server] = []
    tasks: list[asyncio.Future[Any]] = []

    def start(server: _Server, listener: socket.socket) -> None:
        servers.append(server)
        tasks.append(asyncio.ensure_future(server.serve(sockets=[listener])))

    stopped = asyncio.ensure_future(stop.wait())
    if config.health_port is not None:
        start(_server(probes), bind_tcp("", config.health_port))
    calls = asyncio.ensure_future(_open(plugin, config))
    await asyncio.wait([calls, stopped], return_when=asyncio.FIRST_COMPLETED)
    background: list[asyncio.Future[Any]] = [calls, stopped]
    if calls.done():
        server, application, listener, reloading = calls.result()
        start(server, listener)
        if reloading is not None:
            background.append(asyncio.ensure_future(reloading.follow()))
        probes.ready = True
        log.info("listening: %s %s", plugin.name, plugin.version)
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            await _drain(config.drain, probes, application, tasks)
    for task in background:
        task.cancel()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)
    log.info("stopped")


async def _drain(seconds: int, probes: Probes, application: Application, tasks: list[asyncio.Future[Any]]) -> None:
    """Serves new calls for this time, but reports that the plugin is not ready. Returns early if a server ends."""
    probes.ready, probes.reason = False, "shutting down"
    application.draining = True
    if seconds:
        log.info("not ready any more; new calls are served for %d s", seconds)
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def _open(plugin: Handlers, config: Config) -> tuple[_Server, Application, socket.socket, Reloading | None]:
    application = Application(plugin, config.credentials)
    if config.socket is not None:
        return _server(application), application, bind_socket(config.socket), None
    if config.insecure_port is not None:
        log.warning("plain HTTP without authentication: for development only")
        return _server(application), application, bind_tcp("127.0.0.1", config.insecure_port), None
    listener = bind_tcp("", config.port)
    reloading = Reloading(config.tls_dir or Path())
    await reloading.wait()
    server = _server(application, http=_FromController)
    server.config.ssl = reloading.context
    return server, application, listener, reloading
