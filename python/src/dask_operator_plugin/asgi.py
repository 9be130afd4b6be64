"""The HTTP service of a plugin, as an ASGI application. It answers as the Rust kit does, call for call."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from .answer import InvalidAnswer
from .credentials import CannotVerify, Credentials, Unauthorized
from .request import API_VERSION, KIND, InvalidRequest, Request, read_review

if TYPE_CHECKING:
    from .plugin import Plugin

MAX_REQUEST_BYTES = 4 * 1024 * 1024
LONGEST_TIMEOUT = 30.0
DISCOVERY, SYNC, FINALIZE = "/v1alpha1/discovery", "/v1alpha1/sync", "/v1alpha1/finalize"
_HOOKS = {DISCOVERY: "Discovery", SYNC: "Sync", FINALIZE: "Finalize"}

log = logging.getLogger("dask_operator_plugin")


class Rejection(Exception):
    """Why a call does not lead to an answer; children stay as they are."""

    def __init__(self, status: int, category: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.category = category
        self.headers = headers or {}


@dataclass(frozen=True)
class _Reply:
    status: int
    body: Any
    outcome: str
    headers: dict[str, str]


class Application:
    """The plugin, for callers that show `credentials`."""

    def __init__(self, plugin: Plugin, credentials: Credentials | None = None) -> None:
        self._plugin = plugin
        self._credentials = credentials or Credentials()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise RuntimeError(f"there is no {scope['type']} here")

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        path: str = scope["path"]
        if path == "/healthz" and scope["method"] == "GET":
            await _send(send, 200, b"ok", {"content-type": "text/plain; charset=utf-8"})
            return
        hook = _HOOKS.get(path)
        began = time.monotonic()
        metrics = self._plugin.metrics
        with metrics.in_flight.track_inprogress():
            reply = await self._reply(scope, receive)
        if hook is not None:
            metrics.answered(hook, reply.outcome, time.monotonic() - began)
        headers = {"content-type": "application/json", **reply.headers}
        await _send(send, reply.status, json.dumps(reply.body).encode(), headers)

    async def _reply(self, scope: Any, receive: Any) -> _Reply:
        path: str = scope["path"]
        try:
            if path not in _HOOKS:
                raise Rejection(404, "UnknownPath", f"there is nothing at {path}")
            method = "GET" if path == DISCOVERY else "POST"
            if scope["method"] != method:
                message = f"{scope['method']} is not allowed here"
                raise Rejection(405, "MethodNotAllowed", message, {"allow": method})
            if path == DISCOVERY:
                await self._authenticate(scope, b"")
                return _Reply(200, self._plugin.discovery(), "Success", {})
            seconds = _deadline(scope["query_string"])
            return await asyncio.wait_for(self._hook(scope, receive), seconds)
        except Rejection as error:
            rejection = error
        except (asyncio.TimeoutError, TimeoutError):
            message = "the plugin did not answer in the time that the caller gave it"
            rejection = Rejection(504, "DeadlineExceeded", message)
        log.warning("rejected a call of %s: %s: %s", path, rejection.category, rejection)
        body = {"error": rejection.category, "message": str(rejection)}
        return _Reply(rejection.status, body, rejection.category, rejection.headers)

    async def _hook(self, scope: Any, receive: Any) -> _Reply:
        served = _HOOKS[scope["path"]]
        body = await _body(receive)
        await self._authenticate(scope, body)
        if served not in self._plugin.hooks:
            raise Rejection(404, "HookNotServed", f"this plugin does not serve the hook {served}")
        request = _request(scope, body)
        if request.hook != served:
            message = f"request.hook is {request.hook}, but the path is that of {served}"
            raise Rejection(422, "HookMismatch", message)
        subject = request.subject
        what = f"{served} of {subject.kind} {subject.namespace}/{subject.name}"
        try:
            response = await self._plugin.answer(request)
            answer = {"apiVersion": API_VERSION, "kind": KIND, "response": response.body(request.uid)}
            json.dumps(answer)
        except InvalidAnswer as error:
            log.error("%s: %s", what, error)
            raise Rejection(500, "InvalidAnswer", str(error)) from error
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("%s: the plugin failed", what)
            raise Rejection(500, "Panicked", "the plugin failed; its log says where") from error
        log.info("%s: %s", what, response.status)
        return _Reply(200, answer, response.status, {})

    async def _authenticate(self, scope: Any, body: bytes) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            await self._credentials.verify(headers, body)
        except Unauthorized as error:
            raise Rejection(401, "Unauthorized", str(error), {"www-authenticate": "Bearer"}) from error
        except CannotVerify as error:
            raise Rejection(503, "CannotVerify", str(error)) from error


def _request(scope: Any, body: bytes) -> Request:
    headers = dict(scope["headers"])
    content_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if content_type != b"application/json" and not content_type.endswith(b"+json"):
        raise Rejection(415, "UnsupportedContentType", "the body must have the content type application/json")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Rejection(422, "InvalidJson", f"the body is not JSON: {error}") from error
    try:
        return read_review(value)
    except InvalidRequest as error:
        raise Rejection(422, "InvalidRequest", str(error)) from error


def _deadline(query: bytes) -> float:
    text = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)).get("timeout")
    if text is None:
        return LONGEST_TIMEOUT * 0.95
    if not re.fullmatch(r"0*[1-9][0-9]{0,9}s", text):
        message = f'the timeout "{text}" in the query is not a number of seconds such as 10s'
        raise Rejection(422, "InvalidTimeout", message)
    # A little early, so that the caller reads why instead of hanging up at the same moment.
    return min(float(text[:-1]), LONGEST_TIMEOUT) * 0.95


async def _body(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Rejection(400, "BrokenBody", "the body ended early")
        body += message.get("body", b"")
        if len(body) > MAX_REQUEST_BYTES:
            raise Rejection(413, "RequestTooLarge", f"the body is larger than {MAX_REQUEST_BYTES} bytes")
        if not message.get("more_body", False):
            return bytes(body)


async def _send(send: Any, status: int, body: bytes, headers: dict[str, str]) -> None:
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


class Probes:
    """What the kubelet and Prometheus ask, on a port beside that of the calls."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self.ready = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        text = {"content-type": "text/plain; charset=utf-8"}
        path = scope["path"]
        if path == "/healthz" or (path == "/readyz" and self.ready):
            await _send(send, 200, b"ok", text)
        elif path == "/readyz":
            await _send(send, 503, b"no certificate yet", text)
        elif path == "/metrics":
            metrics = self._plugin.metrics
            await _send(send, 200, metrics.encode(), {"content-type": metrics.content_type})
        else:
            await _send(send, 404, b"there is nothing here", text)
