"""What a plugin answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_CHILDREN = 64
_KEY = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Child:
    """An object that the plugin wants to exist."""

    key: str
    """A stable name of the child's role: up to 40 of a-z, 0-9 and inner dashes."""
    manifest: Mapping[str, Any]
    """The object. The controller sets namespace, owner and labels; `metadata.name` may be left out."""


@dataclass(frozen=True)
class Condition:
    """A condition to show on the Dask resource."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Answer:
    """The complete set of children for a subject, and what else the user should know."""

    children: Iterable[Child] = ()
    conditions: Iterable[Condition] = ()
    warnings: Iterable[str] = ()
    """Sentences to show as Events, once each."""
    resync_after: int = 0
    """Ask again after so many seconds; 0 means only when something changes."""


Answerable = Answer | Mapping[str, Mapping[str, Any]] | Iterable[Child]
"""What a handler may return: an `Answer`, manifests by key, or children."""


class Failure(Exception):
    """The plugin refuses; children stay as they are, and the message is shown to the user.

    `reason` is one CamelCase word. Both must be the same for the same cause: no times, no addresses.
    """

    def __init__(self, reason: str, message: str, *, resync_after: int = 0) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.resync_after = resync_after


class Pending(Exception):
    """The plugin cannot say yet; children stay as they are, and the controller asks again."""

    def __init__(self, message: str, *, resync_after: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.resync_after = resync_after


class InvalidAnswer(Exception):
    """A handler returned what the controller would refuse; the message says what to change."""


@dataclass
class Response:
    """The response of a review, ready to be written."""

    status: str
    fields: dict[str, Any] = field(default_factory=dict)

    def body(self, uid: str) -> dict[str, Any]:
        """The JSON of the response to the request with this uid."""
        return {"uid": uid, "status": self.status, **self.fields}


def response_of(returned: object, handler: str) -> Response:
    """The response for what the handler with this name returned. Raises `InvalidAnswer`."""
    answer = _answer_of(returned, handler)
    children = list(answer.children)
    _check_children(children, handler)
    fields: dict[str, Any] = {"children": [{"key": child.key, "manifest": dict(child.manifest)} for child in children]}
    conditions = [vars(condition) for condition in answer.conditions]
    if conditions:
        fields["conditions"] = conditions
    warnings = list(answer.warnings)
    if warnings:
        fields["warnings"] = warnings
    if answer.resync_after:
        fields["resyncAfterSeconds"] = answer.resync_after
    return Response("Success", fields)


def response_of_exception(error: Failure | Pending) -> Response:
    """The response for a plugin's no or not yet."""
    fields: dict[str, Any] = {"message": error.message}
    if isinstance(error, Failure):
        fields["reason"] = error.reason
    if error.resync_after:
        fields["resyncAfterSeconds"] = error.resync_after
    return Response("Failure" if isinstance(error, Failure) else "Pending", fields)


def _answer_of(returned: object, handler: str) -> Answer:
    if isinstance(returned, Answer):
        return returned
    if isinstance(returned, Mapping):
        return Answer([Child(str(key), manifest) for key, manifest in returned.items()])
    if isinstance(returned, Iterable) and not isinstance(returned, (str, bytes)):
        return Answer(list(returned))
    raise InvalidAnswer(
        f"{handler} returned {returned!r}; return manifests by key, or {{}} if there are to be no children"
    )


def _check_children(children: list[Child], handler: str) -> None:
    if len(children) > MAX_CHILDREN:
        raise InvalidAnswer(f"{handler} returned {len(children)} children; there may be {MAX_CHILDREN}")
    seen = set()
    for child in children:
        if not isinstance(child, Child):
            raise InvalidAnswer(f"{handler} returned {child!r} among its children, which is no Child")
        if not _KEY.fullmatch(child.key):
            raise InvalidAnswer(f"{handler} returned the key {child.key!r}; use up to 40 of a-z, 0-9 and inner dashes")
        if child.key in seen:
            raise InvalidAnswer(f"{handler} returned the key {child.key!r} twice")
        seen.add(child.key)
        manifest = child.manifest
        if not isinstance(manifest, Mapping) or not all(
            isinstance(manifest.get(name), str) for name in ("apiVersion", "kind")
        ):
            raise InvalidAnswer(f"{handler} returned the child {child.key!r} without apiVersion and kind")
