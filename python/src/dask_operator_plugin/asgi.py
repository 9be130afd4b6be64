"""The HTTP service of a plugin as an ASGI application. Its responses are the same as those of dask-plugin-server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from .answer import InvalidAnswer, encode
from .credentials import CannotVerify, Credentials, Unauthorized
from .handlers import Handlers
from .request import API_VERSION, KIND, InvalidRequest, Request, read_review

MAX_REQUEST_BYTES = 4 * 1024 * 1024
LONGEST_TIMEOUT = 30.0
DISCOVERY, SYNC, FINALIZE = "/v1alpha1/discovery", "/v1alpha1/sync", "/v1alpha1/finalize"
HEALTHZ, METRICS = "/healthz", "/metrics"
_HOOKS = {DISCOVERY: "Discovery", SYNC: "Sync", FINALIZE: "Finalize"}
_METHODS = {HEALTHZ: "GET", DISCOVERY: "GET", SYNC: "POST", FINALIZE: "POST"}
_TEXT = {"content-type": "text/plain; charset=utf-8"}

log = logging.getLogger("dask_operator_plugin")


class Rejection(Exception):
    """A call without a response of the plugin. The existing children stay."""

    def __init__(self, status: int, category: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.category = category
        self.headers = headers or {}


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    outcome: str = "Success"
    headers: dict[str, str] = field(default_factory=dict)


class Application:
    """Serves the calls of a plugin to callers with `credentials`."""

    def __init__(self, plugin: Handlers, credentials: Credentials | None = None) -> None:
        self._plugin = plugin
        self._credentials = credentials or Credentials()
        self.draining = False
        """Whether connections are closed after their next response, so that the next call goes to another pod."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise RuntimeError(f"connections of the type {scope['type']} are not supported")

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        hook = _HOOKS.get(scope["path"])
        if hook is None:
            reply = await self._reply(scope, receive)
        else:
            start, metrics = time.monotonic(), self._plugin.metrics
            with metrics.in_flight.track_inprogress():
                reply = await self._reply(scope, receive)
            metrics.answered(hook, reply.outcome, time.monotonic() - start)
        headers = {"content-type": "application/json", **reply.headers}
        if self.draining:
            headers["connection"] = "close"
        await _send(send, reply.status, reply.body, headers)

    async def _reply(self, scope: Any, receive: Any) -> _Reply:
        path: str = scope["path"]
        try:
            return await self._routed(scope, receive)
        except Rejection as error:
            rejection = error
        except Exception:
            log.exception("failed to serve a call of %s", path)
            rejection = Rejection(500, "PluginFailed", "the server of the plugin failed; see its log")
        log.warning("rejected a call of %s: %s: %s", path, rejection.category, rejection)
        body = json.dumps({"error": rejection.category, "message": str(rejection)}).encode()
        return _Reply(rejection.status, body, rejection.category, rejection.headers)

    async def _routed(self, scope: Any, receive: Any) -> _Reply:
        path, method = scope["path"], scope["method"]
        allowed = _METHODS.get(path)
        if allowed is None:
            raise Rejection(404, "UnknownPath", f"the path {path} does not exist")
        # Servers omit the body of a response to HEAD.
        if method != allowed and (allowed, method) != ("GET", "HEAD"):
            message = f"the method {method} is not allowed for this path"
            raise Rejection(405, "MethodNotAllowed", message, {"allow": allowed})
        if path == HEALTHZ:
            return _Reply(200, b"ok", headers=_TEXT)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if path == DISCOVERY:
            with _refusing():
                await self._credentials.verify_token(headers)
                await self._credentials.verify_signature(headers, b"")
            return _Reply(200, encode(self._plugin.discovery()))
        timeout = _timeout(scope["query_string"])
        try:
            # Slightly early, so that the caller still reads the response instead of closing the connection.
            return await asyncio.wait_for(self._hook(_HOOKS[path], headers, receive), timeout * 0.95)
        except asyncio.TimeoutError as error:
            advice = "make it faster, or raise spec.timeoutSeconds of the plugin resource (at most 30)"
            message = f"the plugin did not answer within {timeout:.0f} s; {advice}"
            raise Rejection(504, "DeadlineExceeded", message) from error

    async def _hook(self, served: str, headers: dict[str, str], receive: Any) -> _Reply:
        body = None
        with _refusing():
            # Before the body is read, which may be large and come from an unknown caller.
            await self._credentials.verify_token(headers)
            if self._credentials.signature is not None:
                body = await _body(receive)
                await self._credentials.verify_signature(headers, body)
        if served not in self._plugin.hooks:
            raise Rejection(404, "HookNotServed", f"this plugin does not serve the hook {served}")
        content_type = headers.get("content-type", "").split(";")[0].strip().lower()
        if content_type != "application/json" and not content_type.endswith("+json"):
            raise Rejection(415, "UnsupportedContentType", "the body must have the content type application/json")
        request = _request(await _body(receive) if body is None else body)
        if request.hook != served:
            message = f"request.hook is {request.hook}, but the path is that of {served}"
            raise Rejection(422, "HookMismatch", message)
        return await self._answer(request)

    async def _answer(self, request: Request) -> _Reply:
        subject = request.subject
        what = f"{request.hook} of {subject.kind} {subject.namespace}/{subject.name}"
        try:
            response = await self._plugin.answer(request)
            body = encode({"apiVersion": API_VERSION, "kind": KIND, "response": response.body(request.uid)})
        except InvalidAnswer as error:
            log.error("%s: %s", what, error)
            raise Rejection(500, "InvalidAnswer", str(error)) from error
        except Exception as error:
            log.exception("%s: the plugin failed", what)
            # The message of the exception is only in the log, because it may contain data.
            raised = _class_of(error)
            raise Rejection(500, "PluginFailed", f"the plugin failed with {raised}; see its log") from error
        log.info("%s: %s", what, response.status)
        return _Reply(200, body, response.status)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Unauthorized as error:
        raise Rejection(401, "Unauthorized", str(error), {"www-authenticate": "Bearer"}) from error
    except CannotVerify as error:
        raise Rejection(503, "CannotVerify", str(error)) from error


def _request(body: bytes) -> Request:
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Rejection(422, "InvalidJson", f"the body is not JSON: {error}") from error
    try:
        return read_review(value)
    except InvalidRequest as error:
        raise Rejection(422, "InvalidRequest", str(error)) from error


def _no_constant(name: str) -> None:
    # JSON has no such values, but Python's parser accepts them.
    raise ValueError(f"{name} is not a number")


def _class_of(error: BaseException) -> str:
    """Returns the class of what a handler raised. Coroutines cannot pass on these two causes as they are."""
    cause = error.__cause__
    return type(cause if isinstance(cause, (StopIteration, SystemExit)) else error).__name__


def _timeout(query: bytes) -> float:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    text = next((value for name, value in pairs if name == "timeout"), None)
    if text is None:
        return LONGEST_TIMEOUT
    if not re.fullmatch(r"0*[1-9][0-9]{0,9}s", text):
        message = f'the timeout "{text}" in the query is not a number of seconds such as 10s'
        raise Rejection(422, "InvalidTimeout", message)
    return min(float(text[:-1]), LONGEST_TIMEOUT)


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
    """Serves the probes of the kubelet and the metrics, on a port of their own."""

    def __init__(self, plugin: Handlers) -> None:
        self._plugin = plugin
        self.ready = False
        self.reason = "no certificate yet"
        """Why the plugin is not ready."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        path = scope["path"]
        if path == HEALTHZ or (path == "/readyz" and self.ready):
            await _send(send, 200, b"ok", _TEXT)
        elif path == "/readyz":
            await _send(send, 503, self.reason.encode(), _TEXT)
        elif path == METRICS:
            metrics = self._plugin.metrics
            await _send(send, 200, metrics.encode(), {"content-type": metrics.content_type})
        else:
            await _send(send, 404, b"not found", _TEXT)
