"""The answers of handlers, and the responses that are made from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_CHILDREN = 64
MAX_CHILD_BYTES = 256 * 1024
MAX_RESPONSE_BYTES = 2 * 1024 * 1024
_LONGEST_RESYNC = 2**32 - 1
_KEY = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Child:
    """An object that the plugin wants to exist."""

    key: str
    """A stable name for the role of the child: up to 40 of a-z, 0-9 and inner dashes."""
    manifest: Mapping[str, Any]
    """The object. `metadata.name` is optional. The controller sets the namespace, the owner and the labels."""


@dataclass(frozen=True)
class Condition:
    """A condition that is shown on the Dask resource."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Answer:
    """The complete set of children for a subject, and what else the user should know."""

    children: Mapping[str, Mapping[str, Any]] | Iterable[Child] = ()
    """Manifests by key, or children."""
    conditions: Iterable[Condition] = ()
    warnings: Iterable[str] = ()
    """Sentences that are shown as Events, once each."""
    resync_after: int = 0
    """The number of seconds after which the controller calls again. 0 means only when something changes."""


Answerable = Answer | Mapping[str, Mapping[str, Any]] | Iterable[Child]
"""What a handler may return: an `Answer`, manifests by key, or children."""


class Failure(Exception):
    """Refuses. The existing children stay, and the message is shown to the user.

    `reason` is one CamelCase word. The same cause must always have the same reason and message: no times, no
    addresses.
    """

    def __init__(self, reason: str, message: str, resync_after: int = 0) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.resync_after = resync_after


class Pending(Exception):
    """Has no result yet. The existing children stay, and the controller calls again."""

    def __init__(self, message: str, resync_after: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.resync_after = resync_after


class InvalidAnswer(Exception):
    """A handler returned something that the controller would refuse. The message says what to change."""


@dataclass
class Response:
    """The response of a review."""

    status: str
    fields: dict[str, Any] = field(default_factory=dict)

    def body(self, uid: str) -> dict[str, Any]:
        """Returns the JSON of the response to the request with this uid."""
        return {"uid": uid, "status": self.status, **self.fields}


def response_of(returned: object, handler: str) -> Response:
    """Returns the response for the value that `handler` returned. Raises `InvalidAnswer`."""
    answer = _answer_of(returned, handler)
    children = _children_of(answer.children, handler)
    fields: dict[str, Any] = {"children": [{"key": child.key, "manifest": dict(child.manifest)} for child in children]}
    conditions = [_condition(condition, handler) for condition in _list(answer.conditions, "conditions", handler)]
    if conditions:
        fields["conditions"] = conditions
    warnings = _list(answer.warnings, "warnings", handler)
    if warnings:
        fields["warnings"] = [_text(warning, "a warning", handler) for warning in warnings]
    return Response("Success", fields | _resync(answer.resync_after, handler))


def response_of_exception(error: Failure | Pending) -> Response:
    """Returns the response for an exception of a handler. Raises `InvalidAnswer`."""
    status = "Failure" if isinstance(error, Failure) else "Pending"
    fields: dict[str, Any] = {"message": _text(error.message, f"the message of {status}", "the handler")}
    if isinstance(error, Failure):
        fields["reason"] = _text(error.reason, "the reason of Failure", "the handler")
    return Response(status, fields | _resync(error.resync_after, "the handler"))


def encode(body: object) -> bytes:
    """Returns `body` as JSON. Raises `InvalidAnswer` if it cannot be written as JSON or is too large."""
    try:
        text = _json(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidAnswer(f"the answer cannot be written as JSON: {error}") from error
    if len(text) > MAX_RESPONSE_BYTES:
        raise InvalidAnswer(f"the answer has {len(text)} bytes; the maximum is {MAX_RESPONSE_BYTES}")
    return text


def _json(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _answer_of(returned: object, handler: str) -> Answer:
    if isinstance(returned, Answer):
        return returned
    if returned is None:
        raise InvalidAnswer(f"{handler} returned None; return {{}} to delete the children")
    if isinstance(returned, Iterable) and not isinstance(returned, (str, bytes)):
        return Answer(returned)
    # Not the value itself: its text may contain an address, which would differ each time.
    name = type(returned).__name__
    raise InvalidAnswer(f"{handler} returned a {name}; return manifests by key, children, or an Answer")


def _children_of(given: Any, handler: str) -> list[Child]:
    if isinstance(given, Mapping):
        given = [Child(key, manifest) for key, manifest in given.items()]
    children: list[Child] = _list(given, "children", handler)
    if len(children) > MAX_CHILDREN:
        raise InvalidAnswer(f"{handler} returned {len(children)} children; the maximum is {MAX_CHILDREN}")
    seen: set[str] = set()
    for child in children:
        if not isinstance(child, Child):
            raise InvalidAnswer(f"{handler} returned a {type(child).__name__} among its children; make it a Child")
        key = child.key
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise InvalidAnswer(f"{handler} returned the key {key!r}; use up to 40 of a-z, 0-9 and inner dashes")
        if key in seen:
            raise InvalidAnswer(f"{handler} returned the key {key!r} twice; give each child a different key")
        seen.add(key)
        _check_manifest(child, handler)
    return children


def _check_manifest(child: Child, handler: str) -> None:
    what, manifest = f"{handler} returned the child {child.key!r}", child.manifest
    if not isinstance(manifest, Mapping):
        raise InvalidAnswer(f"{what}, whose manifest is a {type(manifest).__name__}; make it a mapping")
    for name in ("apiVersion", "kind"):
        if not isinstance(manifest.get(name), str) or not manifest[name]:
            raise InvalidAnswer(f"{what} without {name}; set it")
    try:
        size = len(_json(dict(manifest)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidAnswer(f"{what}, which cannot be written as JSON: {error}") from error
    if size > MAX_CHILD_BYTES:
        raise InvalidAnswer(f"{what}, which has {size} bytes; the maximum is {MAX_CHILD_BYTES}")


def _condition(condition: object, handler: str) -> dict[str, str]:
    if not isinstance(condition, Condition):
        raise InvalidAnswer(f"{handler} returned a {type(condition).__name__} in conditions; make it a Condition")
    if condition.status not in ("True", "False", "Unknown"):
        message = f'returned a condition with the status {condition.status!r}; use "True", "False" or "Unknown"'
        raise InvalidAnswer(f"{handler} {message}")
    return {name: _text(value, f"a condition's {name}", handler) for name, value in vars(condition).items()}


def _list(values: Any, what: str, handler: str) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidAnswer(f"{handler} returned a {type(values).__name__} as {what}; make it a list")
    return list(values)


def _text(value: object, what: str, handler: str) -> str:
    if not isinstance(value, str):
        raise InvalidAnswer(f"{handler} gave a {type(value).__name__} for {what}; make it a str")
    return value


def _resync(seconds: object, handler: str) -> dict[str, int]:
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= _LONGEST_RESYNC:
        raise InvalidAnswer(f"{handler} gave {seconds!r} for resync_after; use whole seconds, 0 or more")
    return {"resyncAfterSeconds": seconds} if seconds else {}
