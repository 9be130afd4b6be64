"""Helpers for the tests of a plugin: they call its real application, and check the response as the controller does.

`dask_cluster()`, `dask_worker_group()`, `dask_job()`, `dask_autoscaler()`, `scheduler_service()`,
`deployment(component)` and `pod(component)` return subjects as the controller creates them, to be changed by a test.

from dask_operator_plugin.testing import TestPlugin
from my_plugin import plugin

def test_a_cluster_gets_a_greeting():
    children = TestPlugin(plugin).sync(settings={"greeting": "Hi"}).children
    assert children["greeting"]["data"] == {"greeting": "Hi demo"}
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import rfc8785

from .asgi import FINALIZE, SYNC, Application
from .plugin import Plugin
from .request import ControllerInfo, Event, Owner, PluginInfo, Request, Subject, write_review
from .subjects import (
    dask_autoscaler,
    dask_cluster,
    dask_job,
    dask_worker_group,
    deployment,
    owner_of,
    pod,
    scheduler_service,
    subject_of,
)

__all__ = [
    "Answered",
    "Children",
    "TestPlugin",
    "call",
    "dask_autoscaler",
    "dask_cluster",
    "dask_job",
    "dask_worker_group",
    "deployment",
    "digest_of",
    "pod",
    "scheduler_service",
]


def digest_of(request: Request | Mapping[str, Any], *, status: bool = False) -> str:
    """Returns the uid of a request, or of the request in the body of a call: `sha256:` and a digest.

    The digest is of the canonical form (RFC 8785) without `uid`, `attempt`, `event`, `managedFields`,
    `resourceVersion` and, unless `status` is true, `status`.
    """
    review = write_review(request) if isinstance(request, Request) else request
    content = copy.deepcopy(dict(review["request"]))
    for name in ("uid", "attempt", "event"):
        content.pop(name, None)
    children = content.get("observed", {}).get("children", {})
    for holder in (content["subject"], content["owner"], *children.values()):
        metadata = holder["object"].get("metadata", {})
        for name in ("managedFields", "resourceVersion"):
            metadata.pop(name, None)
        if not status:
            holder["object"].pop("status", None)
    return "sha256:" + hashlib.sha256(rfc8785.dumps(content)).hexdigest()


class Children(dict[str, dict[str, Any]]):
    """Manifests by key. For a key that is missing, the error says what the plugin answered."""

    def __init__(self, children: Mapping[str, dict[str, Any]], answered: str = "") -> None:
        """`answered` describes an answer without children."""
        super().__init__(children)
        self._answered = answered

    def __missing__(self, key: str) -> dict[str, Any]:
        answered = self._answered or f"the children {', '.join(self)}"
        raise AssertionError(f"there is no child {key!r}: the plugin answered {answered}")


@dataclass(frozen=True)
class Answered:
    """An answer that the controller would accept."""

    status: str
    """`Success`, `Failure` or `Pending`."""
    children: Children
    """Manifests by key. Reading a key that is missing raises an AssertionError with the plugin's answer."""
    reason: str = ""
    message: str = ""
    warnings: list[str] = field(default_factory=list)
    conditions: list[dict[str, str]] = field(default_factory=list)
    resync_after: int = 0
    finalized: bool = False


class TestPlugin:
    """Calls a plugin through its real application, without a network."""

    __test__ = False

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._application = Application(plugin)

    def sync(
        self,
        subject: Mapping[str, Any] | None = None,
        *,
        owner: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        observed: Mapping[str, Mapping[str, Any]] | None = None,
        reason: str = "Created",
    ) -> Answered:
        """Calls the hook Sync.

        By default the subject is one that the plugin registers a handler for: the scheduler's Service, or else the
        kind of its first handler, of the cluster `demo` in the namespace `team-a`. By default the owner is the Dask
        resource above the subject.

        Raises AssertionError if the controller would refuse the response, or if a second call with the same request
        has a different response.
        """
        return self._check("Sync", subject, owner, settings, observed, reason)

    def finalize(
        self,
        subject: Mapping[str, Any] | None = None,
        *,
        owner: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        observed: Mapping[str, Mapping[str, Any]] | None = None,
        reason: str = "Deleting",
    ) -> Answered:
        """Calls the hook Finalize, see `sync`. It is called once, because it changes things outside of the cluster."""
        return self._check("Finalize", subject, owner, settings, observed, reason)

    def _check(self, hook: str, subject: Any, owner: Any, settings: Any, observed: Any, reason: str) -> Answered:
        subject = subject or self._subject(hook)
        owner = owner or owner_of(subject)
        review = write_review(_request(hook, subject, owner, settings or {}, observed or {}, reason))
        uid = review["request"]["uid"] = digest_of(review)
        first = self._call(SYNC if hook == "Sync" else FINALIZE, review)
        assert first["uid"] == uid, "the response has a wrong uid"
        if hook == "Sync":
            assert self._call(SYNC, review) == first, "a second call with the same request has a different response"
        assert first["status"] != "Success" or "children" in first, "a Success must have children"
        return Answered(
            status=first["status"],
            children=_children(first),
            reason=first.get("reason", ""),
            message=first.get("message", ""),
            warnings=first.get("warnings", []),
            conditions=first.get("conditions", []),
            resync_after=first.get("resyncAfterSeconds", 0),
            finalized=first.get("finalized", False),
        )

    def _subject(self, hook: str) -> dict[str, Any]:
        rules = self._plugin.subjects(hook)
        kind, component = rules[0] if rules else ("Service", None)
        if any(kind == "Service" for kind, _ in rules):
            kind, component = "Service", "scheduler"
        return subject_of(kind, component)

    def _call(self, path: str, review: Mapping[str, Any]) -> dict[str, Any]:
        request = call(self._application, "POST", path, json.dumps(review).encode())
        # In a thread, because a test that is a coroutine has an event loop already.
        with ThreadPoolExecutor(1) as thread:
            status, body = thread.submit(asyncio.run, request).result()
        assert status == 200, f"the plugin returned {status}: {body}"
        response: dict[str, Any] = body["response"]
        return response


def _children(response: Mapping[str, Any]) -> Children:
    children = {child["key"]: child["manifest"] for child in response.get("children", [])}
    answered = "no children"
    if response["status"] != "Success":
        reason = response.get("reason", "")
        answered = " ".join(filter(None, [response["status"], reason])) + f": {response.get('message', '')}"
    return Children(children, "" if children else answered)


def _request(hook: str, subject: Any, owner: Any, settings: Any, observed: Any, reason: str) -> Request:
    component = subject["metadata"].get("labels", {}).get("dask.org/component")
    kind = subject["kind"].lower()
    return Request(
        uid="",
        hook=hook,
        attempt=1,
        event=Event(
            f"org.dask.kubernetes.{kind}" + (f".{component}" if component else ""),
            reason,
            "2026-01-01T00:00:00Z",
        ),
        plugin=PluginInfo("plugin", "dask-operator", 1, settings),
        controller=ControllerInfo("0.1.0"),
        subject=Subject(subject, component),
        owner=Owner(owner, owner["apiVersion"], owner["kind"]),
        observed=observed,
    )


async def call(
    application: Any,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """Makes one HTTP call of an ASGI application, without a network. Returns the status and the JSON of the body."""
    path, _, query = path.partition("?")
    lines = {"content-type": "application/json"} if headers is None else headers
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in lines.items()],
    }
    answer: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer["status"] = message["status"]
        else:
            answer["body"] += message.get("body", b"")

    await application(scope, receive, send)
    return answer["status"], json.loads(answer["body"])
