"""Mutual TLS with the files of the Secret that the controller writes for a plugin."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

CONTROLLER_NAME = "dask-operator.plugin.kubernetes.dask.org"
"""The DNS name in the controller's client certificate. Plugins hold certificates of the same CA, so the CA alone does
not tell who calls."""

POLL = 10.0
FIRST_POLL = 1.0
_FILES = ("ca.crt", "tls.crt", "tls.key")

log = logging.getLogger("dask_operator_plugin")


def is_controller(certificate: object) -> bool:
    """Whether the peer's certificate, as `ssl` describes it, is the controller's."""
    names = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    return ("DNS", CONTROLLER_NAME) in names


class _Newest(ssl.SSLContext):
    """Begins each connection with the newest context.

    With all of it: after `sni_callback` has changed the context of a connection, sessions of the first one can still
    be resumed, which lets in whoever has a certificate of authorities that are trusted no more.
    """

    current: ssl.SSLContext | None = None

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """What asyncio's servers call for each connection."""
        if self.current is None:
            raise ssl.SSLError("there is no certificate yet")
        return self.current.wrap_bio(*args, **kwargs)


class Reloading:
    """A context for servers that follows the files in a directory.

    New files apply to new connections within ten seconds; established connections go on. Files that cannot be used are
    reported once, and what is in use stays.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: list[bytes] | None = None
        self._complaint = ""
        self._newest = _Newest(ssl.PROTOCOL_TLS_SERVER)

    @property
    def context(self) -> ssl.SSLContext:
        """For `asyncio` servers; it is the same for ever."""
        return self._newest

    async def wait(self) -> None:
        """Returns when there are usable files."""
        while not self.reload():  # noqa: ASYNC110 (nothing tells when files appear)
            await asyncio.sleep(FIRST_POLL)

    async def follow(self, every: float = POLL) -> None:
        """Looks at the files for ever."""
        while True:
            await asyncio.sleep(every)
            self.reload()

    def reload(self) -> bool:
        """Takes over what is in the directory; whether there is anything usable by now."""
        try:
            contents = [(self._directory / name).read_bytes() for name in _FILES]
            if contents == self._seen:
                return self._newest.current is not None
            self._seen = contents
            self._newest.current = self._load(contents[0])
        except (OSError, ValueError) as error:
            self._complain(f"{self._directory}: {error}")
            return self._newest.current is not None
        log.info("loaded the certificate in %s", self._directory)
        self._complaint = ""
        return True

    def _load(self, authorities: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authorities.decode("ascii"))
        context.load_cert_chain(self._directory / "tls.crt", self._directory / "tls.key")
        return context

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            state = "keeping the certificate that is in use" if self._newest.current else "waiting for a certificate"
            log.warning("%s: %s", state, complaint)
