"""Mutual TLS with the files of the Secret that the controller writes for a plugin."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

CONTROLLER_NAME = "dask-operator.plugin.kubernetes.dask.org"
"""The DNS name in the client certificate of the controller. Plugins have certificates of the same CA, so the CA alone
does not identify the controller."""

POLL = 10.0
FIRST_POLL = 1.0
_FILES = ("ca.crt", "tls.crt", "tls.key")

log = logging.getLogger("dask_operator_plugin")


def is_controller(certificate: object) -> bool:
    """Returns whether the certificate of a peer, as `ssl` describes it, is that of the controller."""
    names = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    return ("DNS", CONTROLLER_NAME) in names


class _Newest(ssl.SSLContext):
    """Starts each connection with the newest context.

    `sni_callback` would not be enough: after it has changed the context of a connection, sessions of the first context
    can still be resumed. So a client with a certificate of a CA that is no longer trusted could connect.
    """

    current: ssl.SSLContext | None = None

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Wraps a connection. The servers of asyncio call it for each connection."""
        if self.current is None:
            raise ssl.SSLError("there is no certificate yet")
        return self.current.wrap_bio(*args, **kwargs)


class Reloading:
    """A context for servers that is reloaded from the files in a directory.

    New files apply to new connections within ten seconds. Established connections continue. Files that are not usable
    are logged once, and the current certificate stays.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: list[bytes] | None = None
        self._last_error = ""
        self._newest = _Newest(ssl.PROTOCOL_TLS_SERVER)

    @property
    def context(self) -> ssl.SSLContext:
        """The context for `asyncio` servers. It is always the same object."""
        return self._newest

    async def wait(self) -> None:
        """Waits until the files exist and are usable."""
        while not self.reload():  # noqa: ASYNC110 (there is no event for new files)
            await asyncio.sleep(FIRST_POLL)

    async def follow(self, every: float = POLL) -> None:
        """Reloads the files at this interval, without end."""
        while True:
            await asyncio.sleep(every)
            self.reload()

    def reload(self) -> bool:
        """Loads the files if they have changed. Returns whether there is a usable certificate."""
        try:
            contents = [(self._directory / name).read_bytes() for name in _FILES]
            if contents == self._seen:
                return self._newest.current is not None
            self._seen = contents
            self._newest.current = self._load(contents[0])
        except (OSError, ValueError) as error:
            self._log_once(f"{self._directory}: {error}")
            return self._newest.current is not None
        log.info("loaded the certificate in %s", self._directory)
        self._last_error = ""
        return True

    def _load(self, authorities: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authorities.decode("ascii"))
        context.load_cert_chain(self._directory / "tls.crt", self._directory / "tls.key")
        return context

    def _log_once(self, error: str) -> None:
        if error != self._last_error:
            self._last_error = error
            state = "keeping the current certificate" if self._newest.current else "waiting for a certificate"
            log.warning("%s: %s", state, error)
