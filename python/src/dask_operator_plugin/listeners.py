"""Listening sockets of a plugin."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from .config import ConfigError


def bind_socket(path: Path) -> socket.socket:
    """Binds a Unix socket with mode 0660 to `path`. Raises `ConfigError`.

    A stale socket file is replaced. Anything else at `path` is an error and stays.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} exists and is not a socket; remove it")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except OSError as error:
                raise ConfigError(f"failed to connect to {path}: {error.strerror}") from error
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
    """Listens on `host`, or on all IPv6 and IPv4 addresses if it is "". Raises `ConfigError`."""
    try:
        if host == "" and socket.has_dualstack_ipv6():
            listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            listener = socket.create_server((host, port))
    except OSError as error:
        raise ConfigError(f"failed to listen on port {port}: {os.strerror(error.errno or 0)}") from error
    # Connections inherit the option. asyncio sets it only on sockets that were created with a protocol number. Without
    # it, each response waits for the delayed acknowledgement of the caller, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
