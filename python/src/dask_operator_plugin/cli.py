"""Serves plugins: `dask-operator-plugin run module:plugin`, and `Plugin.run`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .asgi import Application, Probes
from .config import Config, ConfigError
from .plugin import Plugin
from .tls import Reloading, is_controller

SHUTDOWN_GRACE = 20
"""Seconds that calls in flight may go on: less than the 30 after which the kubelet kills."""

log = logging.getLogger("dask_operator_plugin")


class _FromController(H11Protocol):
    """HTTP for the controller alone."""

    def connection_made(self, transport: Any) -> None:
        if not is_controller(transport.get_extra_info("peercert")):
            log.warning("refused a client: its certificate is not the controller's")
            transport.abort()
            return
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        # One that was refused was never begun.
        if getattr(self, "transport", None) is not None:
            super().connection_lost(exc)


class _Server(uvicorn.Server):
    """Leaves signals to `_run`, which has more than one of it."""

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
        # Longer than the 90 s for which HTTP clients keep connections: else we hang up on what is on its way.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=SHUTDOWN_GRACE,
        ws="none",
        **options,
    )
    config.load()
    return _Server(config)


def bind_socket(path: Path) -> socket.socket:
    """A Unix socket of mode 0660 that listens at `path`.

    A socket file that nobody serves any more is replaced; anything else is an error and stays.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} is there and not a socket; remove it")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except OSError as error:
                raise ConfigError(f"failed to try the socket {path}: {error.strerror}") from error
            else:
                raise ConfigError(f"{path} is served by another process")
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o117)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigError(f"failed to bind {path}: {error.strerror or error}") from error
    finally:
        os.umask(mask)
    return listener


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listener; `host` "" is every address, of both families where there are both."""
    try:
        if host == "" and socket.has_dualstack_ipv6():
            listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            listener = socket.create_server((host, port))
    except OSError as error:
        raise ConfigError(f"failed to listen on port {port}: {os.strerror(error.errno or 0)}") from error
    # Connections inherit it. asyncio sets it only on sockets that were made with a protocol's number, and without it
    # each answer waits for the caller's delayed acknowledgement, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _run(plugin: Plugin, config: Config) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    probes, servers, tasks = Probes(plugin), [], []

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
        server, listener, reloading = calls.result()
        start(server, listener)
        if reloading is not None:
            background.append(asyncio.ensure_future(reloading.follow()))
        probes.ready = True
        log.info("listening: %s %s", plugin.name, plugin.version)
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in background:
        task.cancel()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)
    log.info("stopped")


async def _open(plugin: Plugin, config: Config) -> tuple[_Server, socket.socket, Reloading | None]:
    application = Application(plugin, config.credentials)
    if config.socket is not None:
        return _server(application), bind_socket(config.socket), None
    if config.insecure_port is not None:
        log.warning("plain HTTP without authentication: for development only")
        return _server(application), bind_tcp("127.0.0.1", config.insecure_port), None
    listener = bind_tcp("", config.port)
    reloading = Reloading(config.tls_dir or Path())
    await reloading.wait()
    server = _server(application, http=_FromController)
    server.config.ssl = reloading.context
    return server, listener, reloading


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname,
            "target": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _init_log(json_log: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if json_log else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    # A plugin that has set up its own log keeps it.
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def serve(plugin: Plugin) -> int:
    """Serves `plugin` as the environment says until SIGTERM or SIGINT; the process's exit code."""
    try:
        config = Config.from_env(os.environ)
        _init_log(config.json_log)
        asyncio.run(_run(plugin, config))
    except ConfigError as error:
        print(f"{plugin.name}: {error}", file=sys.stderr)
        return 1
    return 0


def _load(target: str) -> Plugin:
    module, _, attribute = target.partition(":")
    sys.path.insert(0, "")
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"failed to import {module}: {error}; run it where {module} can be imported") from error
    name = attribute or "plugin"
    if not hasattr(imported, name):
        raise ConfigError(f"{module} has no {name}; name the plugin as MODULE:PLUGIN")
    plugin = getattr(imported, name)
    if not isinstance(plugin, Plugin):
        raise ConfigError(f"{target} is a {type(plugin).__name__}; name a Plugin as MODULE:PLUGIN")
    return plugin


def main(arguments: list[str] | None = None) -> int:
    """The program `dask-operator-plugin`."""
    parser = argparse.ArgumentParser(prog="dask-operator-plugin", description="Serves plugins for dask-operator.")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="serve a plugin as the environment says")
    run.add_argument("plugin", metavar="MODULE:PLUGIN", help="such as my_plugin:plugin")
    options = parser.parse_args(arguments)
    try:
        plugin = _load(options.plugin)
    except ConfigError as error:
        print(f"dask-operator-plugin: {error}", file=sys.stderr)
        return 1
    return serve(plugin)


if __name__ == "__main__":
    raise SystemExit(main())
